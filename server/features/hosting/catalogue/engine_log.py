"""Read from an engine's log how far its start is, and the cause of a failure as a sentence. Pure.

Known are the logs of vLLM, of llama.cpp, of whatever shows tqdm's bars (`transformers serve`, the
hub's downloads), of uvicorn, and of docker and podman fetching an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from server.features.hosting.catalogue.llama_cpp import FAILED

# Patterns with what they mean; the first that matches is used.
Table = tuple[tuple[re.Pattern[str], str], ...]


def table(*rows: tuple[str, str]) -> Table:
    return tuple((re.compile(pattern), text) for pattern, text in rows)


def meaning(of: Table, text: str) -> str:
    """Return what a text means by a table; "" for nothing that is known."""
    return next((found for pattern, found in of if pattern.search(text)), "")


# Layers of an image that are kept count of; images have at most 127.
_MOST_LAYERS = 256
_PHASE_CHARS = 60


@dataclass(frozen=True, slots=True)
class LoadProgress:
    # A few words: "loading weights"
    phase: str
    # Of this phase, 0 to 100; None when unknown.
    percent: float | None = None
    # Bytes of this phase; None when it does not count bytes.
    done_bytes: int | None = None
    total_bytes: int | None = None


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SIZE = r"(\d+(?:\.\d+)?)\s?([kKMGT]?)(i?)(B?)"
# tqdm: "Loading weights:  45%|####5     | 26/57 [00:00<00:00, 99.1it/s]", "model.safetensors:  45%|##| 1.2G/2.7G [... 90MB/s]"
_BAR = re.compile(
    rf"^(?P<what>[^|]{{0,200}}?)(?<!\s):?\s++(?P<share>\d{{1,3}})%\|[^|]*\|\s*{_SIZE}/{_SIZE}\s*\[(?P<rate>[^\]]*)"
)
# docker: "4f4fb700ef54: Downloading [==>   ]  12.3MB/45.6MB"
_DOCKER = re.compile(
    r"^(?P<layer>[0-9a-f]{12}): (?P<what>Pulling fs layer|Waiting|Downloading|Verifying Checksum|Download complete"
    rf"|Extracting|Pull complete|Already exists)(?:\s+\[[^\]]*\]\s+{_SIZE}/{_SIZE})?"
)
# podman: "Copying blob sha256:4f4f…", "Copying blob 4f4fb700ef54 done   |", "Copying blob 4f4f [==>--] 12.3MiB / 45.6MiB"
_PODMAN = re.compile(
    r"^Copying (?:blob|config) (?:sha256:)?(?P<layer>[0-9a-f]{10,64})"
    rf"(?P<done> (?:done|skipped))?(?:\s+\[[^\]]*\]\s+{_SIZE}\s*/\s*{_SIZE})?"
)
_PULLING = re.compile(
    r"^Unable to find image|: Pulling from |^Trying to pull |^Getting image source|^Pulling image"
)
_PULLED = re.compile(r"^Digest: sha256:|^Writing manifest|^Status: (?:Downloaded|Image is up)")
_IMAGE = "fetching the image"
_PHASES = table(
    (r"Application startup complete|Uvicorn running on", "opening the port"),
    (r"Waiting for application startup|Started server process", "starting the server"),
    (r"^\[transformers\] Loading\b", "loading the model"),
)
# As a traceback ends: "RuntimeError: …", "torch.OutOfMemoryError: …", behind whatever a logger puts
# before it
_ERROR = re.compile(r"(?:^|[\s\]])((?:\w+\.)*[A-Z]\w*(?:Error|Exception): \S.*)")
_ERROR_CHARS = 200
_LOADING = re.compile(r"(?i)^(?:loading|materiali[sz]ing)\b")
_FETCHING = re.compile(
    r"(?i)^(?:fetching|download)|\.(?:safetensors|json|bin|gguf|model|txt|jinja)\b|\bit?B/s|B/s"
)


class LoadingLog:
    """Reads one engine's log from its start; `progress` is the newest that is known."""

    def __init__(self) -> None:
        self.progress = LoadProgress("starting")
        # Layers of the image: (done, bytes there, bytes in all)
        self._layers: dict[str, tuple[bool, int, int]] = {}

    def read(self, line: str) -> LoadProgress | None:
        """Return the progress in a line; None for any other line."""
        found = self._image(line) or _bar(line) or _phase(line)
        if found is not None:
            self.progress = found
        return found

    def _image(self, line: str) -> LoadProgress | None:
        if match := _DOCKER.match(line) or _PODMAN.match(line):
            what = match.groupdict()
            done = bool(what.get("done")) or what.get("what") in ("Pull complete", "Already exists")
            sizes = _sizes(match.groups()[-8:])
            layer = what["layer"][:12]
            before = self._layers.get(layer, (False, 0, 0))
            if layer in self._layers or len(self._layers) < _MOST_LAYERS:
                there, in_all = sizes if sizes and what.get("what") != "Extracting" else before[1:]
                if done or what.get("what") == "Download complete":
                    there = in_all
                self._layers[layer] = (done or before[0], there, in_all)
            layers = self._layers.values()
            share = 100.0 * sum(one[0] for one in layers) / len(layers)
            in_all = sum(one[2] for one in layers)
            there = sum(one[1] for one in layers)
            if in_all:
                return LoadProgress(_IMAGE, min(100.0, 100.0 * there / in_all), there, in_all)
            return LoadProgress(_IMAGE, share)
        if _PULLING.search(line):
            return LoadProgress(_IMAGE)
        if _PULLED.search(line):
            return LoadProgress(_IMAGE, 100.0)
        return None


def explanation(lines: Iterable[str], *, for_cpu: bool = False, **settings: object) -> str:
    """Return the cause of a failure and the remedy; "" for an unknown failure. See `vllm_explanation`."""
    kept = list(lines)
    known = meaning(_FAILURES, "\n".join(kept))
    return known or vllm_explanation(kept, for_cpu=for_cpu, **settings)


def vllm_explanation(lines: Iterable[str], *, for_cpu: bool = False, **settings: object) -> str:
    """Return the same of vLLM itself; `settings` fill in the sentence. `for_cpu`: computing on the CPU is intended."""
    return meaning(_VLLM_FAILURES[for_cpu:], "\n".join(lines)).format(**settings)


def llama_explanation(lines: Iterable[str], **settings: object) -> str:
    """Return the same of llama.cpp's server; `settings` fill in the sentence."""
    kept = list(lines)
    ours = next((line.removeprefix(FAILED) for line in kept if line.startswith(FAILED)), "")
    return ours or meaning(_LLAMA_FAILURES, "\n".join(kept)).format(**settings)


def first_error(lines: Iterable[str]) -> str:
    """Return a sentence with a Python log's first error, which causes later ones; "" for none."""
    for line in lines:
        if match := _ERROR.search(line):
            return f"Its log says: {match[1][:_ERROR_CHARS].rstrip('. ')}."
    return ""


_FAILURES = table(
    (
        r"Cannot connect to the (?:Docker|Podman) |Is the docker daemon running|permission denied while trying to connect",
        "The container runtime does not answer. Start it (systemctl start docker), let this user use it, or choose"
        " another way to run the model.",
    ),
    (
        r"could not select device driver|nvidia-container-cli|unresolvable CDI devices",
        "The container runtime cannot give the GPU to a container. Install the GPU maker's container toolkit, or choose"
        " another way to run the model.",
    ),
    (
        r"error gathering device information|stat /dev/(?:kfd|dri)",
        "The GPU's device files (/dev/kfd, /dev/dri) are not on this machine. Install its driver, or choose another way to run"
        " the model.",
    ),
    (
        r"short-name .* did not resolve|short-name resolution enforced",
        "podman wants the image's whole name: for one of Docker's hub, docker.io/ and the name.",
    ),
    (
        r"manifest unknown|pull access denied|repository does not exist|toomanyrequests|no basic auth credentials"
        r"|requested access to the resource is denied|unauthorized: authentication required",
        "The image could not be fetched. Check its name, and whether this machine may fetch it.",
    ),
    (
        r"pinging container registry|Error response from daemon: (?:Get|Head) \"https?://|failed to resolve reference"
        r"|failed to do request|error pulling image",
        "The image could not be fetched: its registry does not answer. Fetch it while there is a connection (docker pull,"
        " podman pull), or name one that is on this machine.",
    ),
    (
        r"no space left on device",
        "A disk is full. vLLM's image takes about 10 GB, and more while it is unpacked: make room where images are kept"
        " (docker system df, podman system df).",
    ),
    (
        r"executable file (?:`\S+` )?not found in \$PATH|attempted to invoke a command that was not found",
        "The image has no vllm. Choose one with vLLM, or leave the image empty for vLLM's own.",
    ),
    (
        r"bind source path does not exist|Error: statfs ",
        "The model's folder is not there for the container runtime: a docker elsewhere (DOCKER_HOST) or in a virtual machine"
        " sees other folders. Choose another way to run the model.",
    ),
    (
        r"Permission denied: '/model\b",
        "The container may not read the model: its root has no right over files of others. Let all read them"
        " (chmod -R a+rX FOLDER).",
    ),
    (
        r"name \"\S+\" is already in use by",
        "The container of the last time is there still and could not be removed. Remove it (docker rm --force NAME, podman rm"
        " --force NAME).",
    ),
    (
        r"port is already allocated|address already in use|\[Errno 98\]",
        "Another program has the port. Choose another one, or leave the port empty for a free one.",
    ),
    (
        # Not the name alone: vLLM lists it among what it was given.
        r"(?:option|argument|pass|set)\b[^\n]{0,40}`?trust_remote_code=True|requires you to execute the"
        r"|contains custom code|enable execution of custom code",
        "The model brings code of its own, which runs only with TRUST_REMOTE_CODE=true. Set it if you trust who made the"
        " model, or choose another model.",
    ),
    (
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to '?https?://|Max retries exceeded with url"
        r"|Temporary failure in name resolution",
        "The model is not on this machine and its hub cannot be reached. Fetch it while there is a connection, or"
        " name a folder that has it.",
    ),
    (
        r"DefaultCPUAllocator: can't allocate|\bMemoryError|Cannot allocate memory",
        "Main memory is full. Choose a smaller model or a smaller context, or end other programs.",
    ),
)


_LOWER = (
    "Lower {memory} when other programs need the GPU's memory, too (amd-smi and nvidia-smi"
    " show them), and {context} when the model's own share is too small for the context."
)
# Also used for vLLM's help, which fails without a GPU in some builds.
NO_GPU = (
    "This vLLM finds no GPU and would run on the CPU. It is a build for another maker's GPU, or this user may not open"
    " the GPU (AMD: /dev/kfd, groups render and video). Install the build for this GPU."
)
# `{memory}`, `{context}`, `{dtype}` name a setting with its value, `{elsewhere}` says how to set
# another port; `{port}` and `{path}` are values.
_VLLM_FAILURES = table(
    (
        r"platform (?:is )?cpu\b|device_config=cpu|device_type=cpu|Failed to infer device type",
        NO_GPU,
    ),
    (
        r"Available memory on node .* is less than",
        "Main memory does not hold what vLLM sets aside for requests. End other programs, choose a smaller model, or lower"
        " VLLM_CPU_KVCACHE_SPACE where it is set.",
    ),
    (
        r"Free memory on device.*less than desired GPU memory utilization",
        "Other programs hold the GPU's memory. End them, or lower {memory}; should the context not fit then, lower"
        " {context}, too.",
    ),
    (
        r"larger than the available KV cache memory|max seq len .* is larger than the maximum number of tokens",
        "The context does not fit beside the weights. Lower {context}, or, when nothing else uses"
        " the GPU, raise {memory}. 8-bit weights leave more room:"
        " python3 scripts/convert_model.py --help",
    ),
    (
        r"No available memory for the cache blocks",
        "The weights leave no room for the context. Convert the model to 8 bits (python3 scripts/convert_model.py --help),"
        " or, when nothing else uses the GPU, raise {memory}.",
    ),
    (
        r"out of memory|OutOfMemoryError|hipErrorOutOfMemory|HSA_STATUS_ERROR_OUT_OF_RESOURCES",
        "The GPU's memory is full. " + _LOWER + " 8-bit weights take half:"
        " python3 scripts/convert_model.py --help",
    ),
    (
        r"max_model_len \(?\d+\)? is greater than the derived",
        "The model cannot hold so much. Lower {context}.",
    ),
    (
        r"address already in use|Address already in use|\[Errno 98\]",
        "Another program has port {port}. End it, or {elsewhere}.",
    ),
    (
        r"invalid device function|hipErrorNoBinaryForGpu|no kernel image is available",
        "This vLLM was not built for this GPU. Install the build that names it.",
    ),
    (
        r"no ROCm-capable device|No HIP GPUs|No CUDA GPUs|hipErrorNoDevice|CUDA driver version is insufficient"
        r"|driver too old",
        "vLLM cannot open the GPU. Check the driver, and the access of this user (AMD: groups render and video).",
    ),
    (
        r"only supported on GPUs with compute capability|(?:dtype|float16|bfloat16) is not supported",
        "This GPU does not take {dtype}. Set another (float16, bfloat16).",
    ),
    (
        r"[Qq]uantization (?:scheme|method).* not supported|Failed to find a kernel that can implement",
        "This GPU or this vLLM cannot run the model's quantised form. Use 8-bit floats (python3 scripts/convert_model.py"
        " --quantize 8) or the original model.",
    ),
    (
        r"SafetensorError|HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader|size of tensor .* must match|exceeds dimension size"
        r"|weights were not initialized from checkpoint",
        "The weights in {path} are damaged or of another model. Look at them:"
        " python3 scripts/convert_model.py --verify-only --model-path {path}",
    ),
    (
        r"does not appear to have a file named|Can't load the configuration|is not the path to a directory"
        r"|Can't load (?:image|video|feature) processor|Can't load tokenizer",
        "Files of the model are missing in {path}. bash scripts/download_model.sh fetches them.",
    ),
    (
        r"architectures? .* (?:is|are) not supported|does not recognize this architecture",
        "This vLLM does not know the model's architecture. Install a newer one.",
    ),
    (
        r"unrecognized arguments|error: argument",
        "This vLLM does not take an argument that its help lists, or not this value of it: the line above names it.",
    ),
    (
        r"No space left on device",
        "A disk is full: vLLM writes compiled kernels to ~/.cache, and to /dev/shm (in a container: --shm-size).",
    ),
    (
        r"No module named|ImportError|undefined symbol|cannot open shared object file",
        "vLLM is not installed whole, or beside a torch that it was not built for. Install it anew.",
    ),
    (
        r"EngineDeadError",
        "vLLM's own worker ended, most likely for want of memory. Lower {context}, choose a smaller model, or end other"
        " programs.",
    ),
)
# With this line vLLM continues on the CPU, so it has to be stopped.
ON_CPU = _VLLM_FAILURES[0][0]
_VLLM_PHASES = table(
    (r"Capturing (?:CUDA|HIP|cuda)? ?graphs?|Graph capturing", "recording graphs"),
    (r"torch\.compile (?:takes|took|and)|Compiling a graph|Dynamo bytecode", "compiling"),
    (r"Maximum concurrency|KV cache size|GPU KV cache", "room for the context is set aside"),
    (r"Loading weights took|Model loading took", "weights are loaded"),
    (r"Loading safetensors checkpoint shards:\s+(?P<share>\d+)%", "loading weights"),
    (r"Starting to load model|Loading model", "loading weights"),
    (r"Resolved architecture", "reading the model's files"),
    (r"Initializing a V\d LLM engine", "starting the engine"),
    (r"Application startup complete|Starting vLLM API server", "opening the port"),
)
# Of llama.cpp's server. `{context}` names a setting with its value; `{path}` is the model's folder.
_LLAMA_FAILURES = table(
    (
        r"unknown model architecture|unknown (?:vision |audio )?projector type|unknown pre-tokenizer type",
        "This llama.cpp does not know the kind of this model, which is newer. Upgrade it, or this program where xllamacpp runs,"
        " or name a newer llama-server in LLAMA_SERVER.",
    ),
    (
        r"mismatch between text model .{0,80}mmproj|mismatch between vision and audio mmproj",
        "What reads pictures (the mmproj file) in {path} is of another model than the weights. Put the mmproj of the same"
        " model there.",
    ),
    (
        r"not within the file bounds|failed to (?:seek for|read) tensor|failed to read (?:key-value pairs|tensor info|magic)"
        r"|invalid magic characters|unable to find tensor|tensor '[^']*' not found|has wrong shape"
        r"|tensors expected but|failed to open GGUF file|wrong number of tensors|error loading model hyperparameters",
        "A file of the model in {path} is missing, damaged or cut off. Remove it and fetch the model again.",
    ),
    (
        r"failed to allocate|insufficient memory|unable to allocate|out of memory|std::bad_alloc|ErrorOutOfDeviceMemory",
        "Memory does not hold the model and its context. Lower {context}, choose a smaller model or one with fewer bits,"
        " or end other programs.",
    ),
    (
        r"couldn't bind (?:to server socket|HTTP server socket)",
        "Another program has the port. Choose another one, or leave the port empty for a free one.",
    ),
    (
        r"(?:^|\s)error: (?:invalid argument|while handling argument|unknown argument)",
        "This llama-server does not take an option that its help lists. Upgrade it the way it was installed, or name"
        " another in LLAMA_SERVER.",
    ),
    (
        r"libgomp\.so",
        "llama.cpp's server needs the library libgomp. Install it: apt install libgomp1 (Debian, Ubuntu) or dnf install libgomp.",
    ),
    (
        r"error while loading shared libraries|Library not loaded|cannot open shared object file",
        "llama.cpp's server is not installed whole: a library is missing. Install it again.",
    ),
    (r"[Nn]o space left on device", "A disk is full. Make room, and start the model again."),
    (
        r"GGML_ASSERT\(|GGML_ABORT|ggml_abort|CUDA error|ggml_vulkan: .{0,80}(?:error|failed)",
        "llama.cpp met a fault of its own; its log names the place. Upgrade it, or choose another model.",
    ),
    # Written after the cause, if that is known.
    (
        r"Failed to load CLIP model|CLIP cannot be used as main model",
        "llama.cpp cannot load the mmproj file in {path}, which reads pictures. Put the mmproj of the same model there.",
    ),
)
_LLAMA_PHASES = table(
    (r"^Installing llama\.cpp's server", "installing llama.cpp's server"),
    (r"load_model: loading model|main: loading model", "loading weights"),
    (r"loaded multimodal model", "preparing for pictures"),
    (r"initializing(?: slots)?, n_slots", "room for the context is set aside"),
    (
        r"(?:main|llama_server|init): model loaded|(?:llama_server: |init: |server is )listening on",
        "opening the port",
    ),
)


def _step(line: str) -> tuple[str, float | None]:
    """Return the step that a line names, and its percentage or None; ("", None) for any other line."""
    for pattern, text in _VLLM_PHASES:
        if match := pattern.search(line):
            share = match.groupdict().get("share")
            return text, float(share) if share is not None else None
    return "", None


def _phase(line: str) -> LoadProgress | None:
    phase, share = _step(line)
    if phase:
        return LoadProgress(phase, share)
    phase = meaning(_LLAMA_PHASES, line) or meaning(_PHASES, line)
    return LoadProgress(phase) if phase else None


def _bar(line: str) -> LoadProgress | None:
    match = _BAR.match(line)
    if match is None:
        return None
    what = match["what"].strip().rstrip(":")
    sizes = _sizes(match.groups()[2:10]) if "B/s" in match["rate"] else None
    if known := _step(line)[0]:
        phase = known
    elif _LOADING.match(what):
        phase = "loading weights"
    elif sizes or _FETCHING.search(what):
        phase = "fetching files"
    else:
        phase = (what[:1].lower() + what[1:])[:_PHASE_CHARS] or "working"
    share = min(100.0, float(match["share"]))
    done, total = sizes or (None, None)
    return LoadProgress(phase, share, done, total)


def _sizes(parts: tuple[str | None, ...]) -> tuple[int, int] | None:
    """(bytes there, bytes in all) of number, prefix, "i", "B", twice."""
    if parts[0] is None or parts[4] is None:
        return None
    return _bytes(*parts[0:3]), _bytes(*parts[4:7])


def _bytes(number: str | None, prefix: str | None, binary: str | None) -> int:
    power = _UNITS[(prefix or "").lower()]
    if binary:
        power = 1024 ** list(_UNITS.values()).index(power)
    return round(float(number or 0) * power)
