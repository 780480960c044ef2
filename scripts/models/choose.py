"""Find the model named by run.sh --model in the catalogue or a folder, download it if needed, and print
the settings for it. Without a name, propose a model for this machine, and ask on a terminal.

    python -m scripts.models.choose NAME [--look]
    python -m scripts.models.choose

With `--look` nothing is downloaded, and "torch" is printed if the models' environment is needed. Standard
output gets the settings as KEY=VALUE lines, or the name of the proposed model if the answer is yes;
everything else goes to standard error. Exit status without a name: 0 for yes, 1 for no, without a
terminal, and if no model fits.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config import ConfigError, Settings, load
from scripts.arguments import ENV_FILE
from scripts.models import disk, record
from scripts.models.disk import ModelError, run_script, say
from server.core import core_dumps
from server.features.hosting import llama_wheel
from server.features.hosting.catalogue.entry import (
    Catalogue,
    CatalogueError,
    Library,
    Model,
    ModelType,
)
from server.features.hosting.catalogue.folder import ModelFolderError, read_model
from server.features.hosting.catalogue.gguf import SUFFIX
from server.features.hosting.catalogue.llama_cpp import LlamaServer
from server.features.hosting.catalogue.machine import Host, format_gigabytes, summarise_machine
from server.features.hosting.catalogue.modes import (
    ASSUMED_SPEED,
    Proposal,
    estimate_minutes,
    explain_no_llama_server,
    propose,
)
from server.features.hosting.catalogue.sizes import compute_memory
from server.features.hosting.host import HostProbe, get_system_memory
from server.features.hosting.settings import HostingSettings

# Folder of downloaded models, each in its own folder
KEPT = Path("~/models")
# Printed if a model cannot be used
OTHERWISE = (
    "Without --model the server starts with the configured engine, or the built-in one: bash scripts/run.sh\n"
    "Files from elsewhere work, too: bash scripts/run.sh --model FOLDER"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FIND = "from importlib.util import find_spec as f; print(*(n for n in ('torch', 'transformers') if not f(n)))"
# Files of the kernel, which exist whether or not the tools for the GPU are installed
GPU_SIGNS = (Path("/proc/driver/nvidia/gpus"), Path("/dev/kfd"), Path("/dev/nvidia0"))


@dataclass(frozen=True, slots=True)
class Choice:
    model: Model
    folder: Path
    # The catalogue in which it was found
    catalogue: Catalogue
    # Given as a folder: used as it is, never downloaded
    own: bool = False


def get_hosting_settings(settings: Settings) -> HostingSettings:
    """Return the settings of the feature hosting. Raises ModelError if it is off."""
    if not isinstance(settings, HostingSettings):
        raise ModelError(
            "A model that this server loads needs the feature hosting. Add it to FEATURES."
        )
    return settings


@contextmanager
def converted_errors() -> Iterator[None]:
    """Raise the errors of settings, catalogues, folders and home directories as ModelError."""
    try:
        yield
    except (CatalogueError, ConfigError, ModelFolderError) as error:
        raise ModelError(error.message) from None
    except RuntimeError:
        raise ModelError("There is no home directory to keep models in. Set HOME.") from None


def find(name: str, settings: Settings) -> Choice:
    """Find a model by name or folder. Raises ModelError."""
    hosted = get_hosting_settings(settings)
    with converted_errors():
        # No name in a catalogue begins like this, so an unavailable catalogue does not matter.
        if name.startswith(("/", "~", ".")) and _read_folder_choice(name).exists():
            choice = Choice(
                read_model(_read_folder_choice(name)),
                _read_folder_choice(name),
                Catalogue.load(),
                own=True,
            )
        else:
            choice = _find_choice(name, Catalogue.load(hosted.catalogue))
    if choice.model.remote_code and not hosted.trust_remote_code:
        raise ModelError(
            f"{choice.model.name} contains its own code, which would run with this server's rights. Read it, and set"
            " TRUST_REMOTE_CODE=true if you trust it."
        )
    return choice


def _find_choice(name: str, catalogue: Catalogue) -> Choice:
    path = "/" in name or name.endswith(SUFFIX)
    if path and catalogue.find(name) is None and _read_folder_choice(name).exists():
        return Choice(
            read_model(_read_folder_choice(name)), _read_folder_choice(name), catalogue, own=True
        )
    try:
        known = catalogue.require(name)
    except CatalogueError as error:
        raise ModelError(
            f"{error.message} To fetch one: bash scripts/download_model.sh OWNER/NAME --to FOLDER"
        ) from None
    return Choice(known, get_model_folder(known), catalogue)


def get_model_folder(model: Model) -> Path:
    """Return the folder to which a catalogue's model is downloaded. Raises RuntimeError without a home directory."""
    return KEPT.expanduser() / model.id.rpartition("/")[2]


def _read_folder_choice(name: str) -> Path:
    return Path(name).expanduser().absolute()


def is_complete(choice: Choice) -> bool:
    """Return True if nothing has to be downloaded."""
    if choice.own:
        return True
    known = record.read(choice.folder) if choice.folder.is_dir() else None
    if known is None or known["source"].get("repository") != choice.model.id:
        return False
    revision = choice.model.revision
    if _COMMIT.fullmatch(revision) and known["source"].get("commit") != revision:
        return False
    if not known["files"].keys() >= set(choice.model.files):
        return False
    return all(
        _measure_size(choice.folder / name) == entry["size"]
        for name, entry in known["files"].items()
    )


def _measure_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def look(choice: Choice, settings: Settings) -> None:
    """Check everything that can be checked before an installation or download. Raises ModelError."""
    gpu = any(sign.exists() for sign in GPU_SIGNS)
    if not gpu:
        _require_memory(choice)
    if choice.model.library is Library.LLAMA_CPP:
        # Refuse a server that does not run, or is too old for the model, before gigabytes are downloaded.
        server, trouble = _find_llama_cpp(settings)
        if trouble := explain_no_llama_server(
            choice.model, Host(llama=server, llama_error=trouble)
        ):
            raise ModelError(f"{trouble}\n{OTHERWISE}")
    elif settings.engine_python is not None:
        _require_libraries(settings.engine_python)
    elif gpu:
        say(
            "This machine has a GPU, but the torch in .venv-models uses only the CPU. To use the GPU, create an"
            " environment with transformers and the torch for it (see pytorch.org), and set"
            " ENGINE_PYTHON=/path/to/bin/python in the environment or .env."
        )
    if not is_complete(choice):
        _look_at_hub(choice)


def _look_at_hub(choice: Choice) -> None:
    """Check that the hub and the model are available and the disk has space, before a gigabyte is installed."""
    # Before the hub's library is loaded, which takes half a second
    there = sum(_measure_size(path) or 0 for path in choice.folder.rglob("*") if path.is_file())
    disk.require_space(choice.folder, choice.model.weights_bytes - there, choice.model.name)
    from scripts.models import download, hub

    try:
        say(f"Looking for {choice.model.id} at {hub.get_hub_address()}.")
        model = choice.model
        repository = hub.look_up(model.id, model.revision or None, model.files)
        download.require_space(repository, choice.folder)
        disk.require_writable(choice.folder)
    except ModelError as error:
        raise ModelError(f"{error.message}\n{OTHERWISE}") from None


def _require_memory(choice: Choice) -> None:
    """Refuse a model that needs more than the total memory, before it is downloaded."""
    model = choice.model
    there = get_system_memory()[0]
    if model.memory_bytes <= there:
        return
    fitting = [
        one
        for one in choice.catalogue
        if one.answers and one.library in one.needs and 0 < one.memory_bytes <= there
    ]
    # A catalogue lists the best model for a class of machines first.
    best = next(
        (one for one in fitting if one.default_for is not None),
        max(fitting, key=lambda one: one.memory_bytes, default=None),
    )
    smaller = (
        "Without --model the built-in engine answers: bash scripts/run.sh. Or fetch it"
        if best is None
        else f"Choose a smaller one ({name_of(best)}), or fetch it"
    )
    raise ModelError(
        f"{model.name} needs about {disk.format_bytes(model.memory_bytes)} of memory, but this machine has"
        f" {disk.format_bytes(there)} and no GPU, so the model cannot be loaded. {smaller} for another machine:"
        f" bash scripts/download_model.sh {model.id} --to FOLDER"
    )


def _find_llama_cpp(settings: Settings) -> tuple[LlamaServer | None, str]:
    return HostProbe(llama_server=HostingSettings.of(settings).llama_server).find_llama_cpp()


def install_server(settings: Settings) -> None:
    """Install llama.cpp's server if the one in use is the package. Raises ModelError."""
    server, _ = _find_llama_cpp(settings)
    if server is None or server.path != llama_wheel.PACKAGE or llama_wheel.is_installed():
        return
    try:
        llama_wheel.install(say)
    except llama_wheel.LlamaError as error:
        raise ModelError(f"{error.message}\n{OTHERWISE}") from None


def _require_libraries(python: Path) -> None:
    try:
        done = subprocess.run(
            [python, "-c", _FIND],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        raise ModelError(
            f"ENGINE_PYTHON is {python}, which cannot be run. Set it to a Python with torch and transformers, or leave it"
            " empty for .venv-models."
        ) from None
    if lacking := done.stdout.split():
        raise ModelError(
            f"ENGINE_PYTHON is {python}, which lacks {' and '.join(lacking)}: {python} -m pip install"
            f" {' '.join(lacking)}; or leave it empty for .venv-models."
        )


def fetch(model: Model, folder: Path) -> None:
    """Download a model's files. Exits the process on failure or a signal."""
    # The hub's library takes half a second to load.
    from scripts.models import download

    def run() -> int:
        download.download(model.id, model.revision or None, folder, model.files)
        say(f"{model.name} is at {folder}.")
        return 0

    download.run_guarded(run, folder, OTHERWISE)


def make_settings(choice: Choice, settings: Settings) -> list[str]:
    """Return the KEY=VALUE lines for run.sh."""
    lines = [] if settings.engine_python is None else [f"ENGINE_PYTHON={settings.engine_python}"]
    if choice.model.answers:
        return [*lines, f"LOCAL_MODEL={choice.folder}"]
    return lines


def explain_purpose(choice: Choice) -> None:
    """Print where to select a downloaded model that does not answer the camera's questions."""
    model = choice.model
    if model.answers:
        return
    kind = {ModelType.VIDEO: "makes videos", ModelType.AUDIO: "makes sounds"}.get(
        model.model_type, "says texts aloud"
    )
    say(
        f"{model.name} {kind} and answers no questions about pictures, so the camera keeps its engine. Start this"
        " model in the page's engine panel (with OPERATOR_TOKEN)."
    )


# Without a name

_BUILTIN = (
    "Without a model the built-in engine answers: it names common things, reads text and codes, names colours, counts faces\n"
    "and reports motion: bash scripts/run.sh"
)


def inspect_machine(settings: HostingSettings) -> Host:
    """Detect this machine's GPUs and memory. This takes a second."""
    probe = HostProbe(
        llama_server=settings.llama_server, trust_remote_code=settings.trust_remote_code
    )
    return probe.probe(vllm=False)


def list_catalogue_models(catalogue: Catalogue) -> list[Model]:
    """Return the models of the catalogue, with the folders of the downloaded ones."""
    models = []
    for model in catalogue:
        choice = Choice(model, get_model_folder(model), catalogue)
        models.append(model.with_folder(choice.folder) if is_complete(choice) else model)
    return models


def describe(proposal: Proposal, host: Host, free: int | None, command: str) -> list[str]:
    """Return the lines that describe a proposal."""
    room = "" if free is None else f" {format_gigabytes(free)} free on the disk for models."
    lines = [summarise_machine(host) + room]
    lines += proposal.skipped
    model = proposal.model
    if model is None:
        if not proposal.skipped:
            lines.append("No model of the catalogue fits into this machine's memory.")
        return [*lines, _BUILTIN]
    kind = ", ".join(filter(None, (model.licence, model.languages)))
    lines.append(f"Proposed: {model.name}{f' ({kind})' if kind else ''}.")
    if model.folder is None:
        lines.append(
            f"  {format_gigabytes(model.weights_bytes)} to fetch, about {estimate_minutes(model.weights_bytes)} min"
            f" at {ASSUMED_SPEED * 8 / 1e6:.0f} Mbit/s (assumed, not measured)."
        )
    else:
        lines.append(f"  It is already downloaded: {model.folder}.")
    where = "of the GPU's memory" if host.gpus else "of memory"
    lines.append(f"  About {format_gigabytes(compute_memory(model, gpu=bool(host.gpus)))} {where}.")
    lines += [f"  First word after {one.seconds:g} s on: {one.on}." for one in model.first_token]
    if model.note:
        lines.append(f"  {model.note}")
    return [*lines, f"The command for it: {command}"]


def name_of(model: Model) -> str:
    return model.aliases[0] if model.aliases else model.id


def ask_yes_no(question: str) -> bool | None:
    """Return the person's answer; None without a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(question, end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def propose_one() -> int:
    """Propose a model for this machine. Return the exit status. Raises ModelError."""
    with converted_errors():
        settings = load(ENV_FILE)
        hosted = get_hosting_settings(settings)
        models = list_catalogue_models(Catalogue.load(hosted.catalogue))
    host = inspect_machine(hosted)
    free = disk.free_bytes(KEPT.expanduser())
    proposal = propose(models, host, free)
    model = proposal.model
    command = "" if model is None else _format_command(proposal, model)
    for line in describe(proposal, host, free, command):
        say(line)
    if model is None:
        return 1
    yes = ask_yes_no(
        "Fetch it and start? [y/N]" if model.folder is None else "Start with it? [y/N]"
    )
    if yes is None:
        say("Nothing was fetched: there is no terminal to ask on.")
    elif not yes:
        say("Nothing was fetched.")
    if not yes:
        return 1
    if proposal.needs_vllm:
        return _fetch_for_vllm(model, settings)
    print(name_of(model))
    return 0


def _format_command(proposal: Proposal, model: Model) -> str:
    if proposal.needs_vllm:
        return f"bash scripts/download_model.sh {model.id}, then bash scripts/start_vllm_server.sh"
    return f"bash scripts/run.sh --model {name_of(model)}"


def _fetch_for_vllm(model: Model, settings: Settings) -> int:
    """Download a model for vLLM to MODEL_PATH, without starting anything."""
    folder = Path(settings.model_path)
    if not is_complete(Choice(model, folder, Catalogue.load())):
        fetch(model, folder)
    say("Next: bash scripts/start_vllm_server.sh, and beside it: bash scripts/run.sh")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts.models.choose", description=__doc__)
    parser.add_argument("name", nargs="?")
    parser.add_argument("--look", action="store_true", help="fetch nothing")
    chosen = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    run = partial(choose, chosen.name, chosen.look) if chosen.name else propose_one
    return run_script(run, lambda: "Stopped.")


def choose(name: str, only_look: bool) -> int:
    """Download a model if needed, and print the settings for it. Raises ModelError."""
    try:
        with converted_errors():
            settings = load(ENV_FILE)
        choice = find(name, settings)
        llama = choice.model.library is Library.LLAMA_CPP
        if only_look:
            look(choice, settings)
            if not llama and settings.engine_python is None:
                print("torch")
            return 0
        if llama:
            install_server(settings)
        if not is_complete(choice):
            fetch(choice.model, choice.folder)
    except OSError as error:
        raise ModelError(
            f"{error.filename or KEPT} cannot be read ({error.strerror or error})."
        ) from None
    explain_purpose(choice)
    print(*make_settings(choice, settings), sep="\n")
    return 0


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
