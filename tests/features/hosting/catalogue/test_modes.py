"""The modes of a model on a machine, and the sentence for each impossible one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.hosting.catalogue.entry import (
    Ability,
    Catalogue,
    Library,
    Model,
    ModelType,
    RunMode,
)
from server.features.hosting.catalogue.llama_cpp import LlamaServer
from server.features.hosting.catalogue.machine import (
    GB,
    Host,
    HostGpu,
    MachineClass,
    Vendor,
    format_gigabytes,
    is_at_least,
)
from server.features.hosting.catalogue.modes import (
    check_modes,
    choose_device,
    estimate_minutes,
    propose,
    should_offload,
)
from server.features.hosting.catalogue.vllm import Vllm

MODEL = Model(
    id="some/model",
    aliases=("one",),
    model_type=ModelType.VISION,
    architecture="qwen2_5_vl",
    abilities=frozenset({Ability.IMAGES}),
    weights_bytes=16 * GB,
    memory_bytes=19 * GB,
    needs={"transformers": "4.49.0", "vllm": "0.7.2"},
    folder=Path("/models/some"),
)
MAKER = MODEL.model_copy(
    update={
        "model_type": ModelType.VIDEO,
        "abilities": frozenset({Ability.TEXT_TO_VIDEO}),
        "library": Library.DIFFUSERS,
        "needs": {"diffusers": "0.33.0"},
        "architecture": "WanPipeline",
    }
)
CARD = HostGpu(Vendor.NVIDIA, "H200", 140 * GB, 139 * GB)
VLLM = Vllm("0.32.0", frozenset(), words=("/usr/bin/vllm", "serve"), path="/usr/bin/vllm")
FOR_CPU = replace(VLLM, for_cpu=True)
# A machine on which everything works.
ALL = Host(
    gpus=(CARD,),
    ram_total_bytes=128 * GB,
    ram_free_bytes=100 * GB,
    engine_python="/env/bin/python",
    libraries={
        "torch": "2.13.0",
        "transformers": "5.23.0",
        "diffusers": "0.36.0",
        "fastapi": "0.1",
        "uvicorn": "0.1",
    },
    torch_device="cuda",
    vllm=VLLM,
    docker="/usr/bin/docker",
    container_socket_ok=True,
    nvidia_containers=True,
)
LAPTOP = replace(ALL, gpus=(), torch_device="", vllm=None, docker=None)


def without(**changes: object) -> Host:
    return replace(ALL, **changes)  # type: ignore[arg-type]


def libraries(**versions: str | None) -> dict[str, str]:
    changed = {**ALL.libraries, **versions}
    return {name: version for name, version in changed.items() if version is not None}


def test_everything_works_where_everything_is() -> None:
    found = check_modes(MODEL, ALL)
    assert set(found) == set(RunMode)
    assert all(one.ok for one in found.values())
    assert found[RunMode.SUBPROCESS].reason == "vLLM 0.32.0."
    assert found[RunMode.IN_PROCESS].reason == "On the GPU."


@pytest.mark.parametrize(
    ("mode", "host", "says"),
    [
        (RunMode.SUBPROCESS, without(sandboxed=True), "systemctl start qwen-vllm"),
        (
            RunMode.SUBPROCESS,
            without(vllm=None, engine_python=None),
            "vLLM is not installed. Install it (see docs.vllm.ai), or choose in-process.",
        ),
        (
            RunMode.SUBPROCESS,
            without(gpus=(), gpu_error="No GPU was found (none).", engine_python=None),
            "No GPU was found (none). /usr/bin/vllm needs one. Install vLLM's build for the CPU, or choose in-process.",
        ),
        (
            RunMode.SUBPROCESS,
            without(vllm=FOR_CPU, engine_python=None),
            "/usr/bin/vllm is built for the CPU. Install the build for this GPU (docs.vllm.ai).",
        ),
        (
            RunMode.SUBPROCESS,
            without(vllm=None, vllm_pending="/usr/bin/vllm"),
            "The options of /usr/bin/vllm are being read, which takes up to a minute the first time. Wait a moment.",
        ),
        (
            RunMode.SUBPROCESS,
            without(vllm=None, vllm_error="/usr/bin/vllm does not run.", engine_python=None),
            "/usr/bin/vllm does not run.",
        ),
        (
            RunMode.SUBPROCESS,
            without(gpus=(), torch_device="", vllm=FOR_CPU, ram_total_bytes=8 * GB),
            "It needs about 19 GB of memory, and this machine has 7.0 GB for it. Choose a smaller or",
        ),
        (
            RunMode.SUBPROCESS,
            without(vllm=replace(VLLM, version="0.6.1"), engine_python=None),
            "needs vLLM 0.7.2 or newer, and 0.6.1 is installed",
        ),
        (
            RunMode.SUBPROCESS,
            without(gpus=(replace(CARD, total_bytes=16 * GB),)),
            "It needs about 19 GB of memory, and this machine has 15 GB for it. Choose a smaller or",
        ),
        (RunMode.CONTAINER, without(sandboxed=True), "may not start containers"),
        (RunMode.CONTAINER, without(docker=None), "Neither docker nor podman is installed"),
        (
            RunMode.CONTAINER,
            without(container_socket_ok=False, container_error="Ask root."),
            "/usr/bin/docker is installed, but cannot be used: Ask root.",
        ),
        (RunMode.CONTAINER, without(gpus=()), "needs an NVIDIA or AMD GPU. No GPU was found."),
        (RunMode.CONTAINER, without(nvidia_containers=False), "nvidia-ctk"),
        (RunMode.IN_PROCESS, without(engine_python=None), "or set ENGINE_PYTHON to one"),
        (
            RunMode.IN_PROCESS,
            without(libraries=libraries(torch=None)),
            "torch is not installed for /env/bin/python",
        ),
        (
            RunMode.IN_PROCESS,
            without(libraries=libraries(transformers="4.40.0")),
            "needs transformers 4.49.0 or newer, and 4.40.0 is installed",
        ),
        (
            RunMode.IN_PROCESS,
            without(gpus=(), torch_device="", ram_total_bytes=8 * GB),
            "It needs about 19 GB of memory, and this machine has 7.0 GB for it. Choose a smaller or",
        ),
        (
            RunMode.IN_PROCESS,
            without(torch_device="", ram_total_bytes=8 * GB),
            "the installed torch is built for the CPU",
        ),
    ],
)
def test_a_mode_that_can_not_work_says_what_to_do(mode: RunMode, host: Host, says: str) -> None:
    found = check_modes(MODEL, host)[mode]
    assert not found.ok
    assert says in found.reason, found.reason


def test_a_model_that_is_not_here_is_fetched_first() -> None:
    found = check_modes(MODEL.model_copy(update={"folder": None}), ALL)
    assert [mode for mode, possible in found.items() if possible.ok] == [RunMode.REMOTE]
    assert "(16 GB) are not on this machine" in found[RunMode.IN_PROCESS].reason
    assert found[RunMode.CONTAINER].reason.endswith("bash scripts/run.sh --model one")


def test_what_would_not_fit_is_not_fetched_first() -> None:
    """Of two reasons the one that fetching does not mend; what runs it comes with fetching, too."""
    away = MODEL.model_copy(update={"folder": None})
    for host in (LAPTOP, replace(LAPTOP, engine_python=None)):
        assert "not on this machine" in check_modes(away, host)[RunMode.IN_PROCESS].reason
        less = replace(host, ram_total_bytes=8 * GB)
        for mode in (RunMode.IN_PROCESS, RunMode.SUBPROCESS):
            assert "this machine has 7.0 GB" in check_modes(away, less)[mode].reason
    assert "Neither docker" in check_modes(away, LAPTOP)[RunMode.CONTAINER].reason
    small = without(gpus=(replace(CARD, total_bytes=16 * GB),))
    for mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
        assert "this machine has 15 GB" in check_modes(away, small)[mode].reason


def test_what_fits_depends_on_the_format() -> None:
    """A GPU computes 32 bits in 16 unless somebody says otherwise."""
    room = replace(LAPTOP, ram_total_bytes=24 * GB)
    assert check_modes(MODEL, room)[RunMode.IN_PROCESS].ok
    for mode in (RunMode.IN_PROCESS, RunMode.SUBPROCESS):
        no = check_modes(MODEL, room, "float32")[mode]
        assert (no.ok, "needs about 37 GB of memory" in no.reason) == (False, True)
    card = replace(CARD, total_bytes=14 * GB)
    small = replace(ALL, gpus=(card,))
    wide = MODEL.model_copy(update={"dtype": "float32"})
    assert choose_device(wide, small) == "cuda"
    assert all(one.ok for one in check_modes(wide, small).values())
    assert choose_device(wide, small, "float32") == "cpu"
    assert "this machine has 13 GB" in check_modes(wide, small, "float32")[RunMode.CONTAINER].reason
    assert choose_device(MODEL, small) == "cpu"


def test_foreign_code_runs_only_by_setting() -> None:
    model = MODEL.model_copy(update={"remote_code": True})
    found = check_modes(model, ALL)
    assert [mode for mode, possible in found.items() if possible.ok] == [RunMode.REMOTE]
    assert "TRUST_REMOTE_CODE=true" in found[RunMode.SUBPROCESS].reason
    assert all(one.ok for one in check_modes(model, without(trust_remote_code=True)).values())


def test_what_makes_something_runs_in_process() -> None:
    """No server is started for it, here or elsewhere."""
    found = check_modes(MAKER, ALL)
    assert [mode for mode, possible in found.items() if possible.ok] == [RunMode.IN_PROCESS]
    for mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
        assert "No server is started here for model (video)" in found[mode].reason
    speaks = MAKER.model_copy(
        update={"model_type": ModelType.SPEECH, "abilities": frozenset({Ability.TEXT_TO_SPEECH})}
    )
    assert (
        "(speech) does not. Run it in-process." in check_modes(speaks, ALL)[RunMode.REMOTE].reason
    )
    assert (
        "diffusers is not installed"
        in check_modes(MAKER, without(libraries=libraries(diffusers=None)))[
            RunMode.IN_PROCESS
        ].reason
    )


def test_videos_are_made_with_parts_in_turn_where_not_all_fits() -> None:
    """On a GPU that holds the largest part; else on the CPU."""
    half = replace(ALL, gpus=(replace(CARD, total_bytes=13 * GB),))
    assert should_offload(MAKER, half)
    assert "(CPU offload)" in check_modes(MAKER, half)[RunMode.IN_PROCESS].reason
    assert not should_offload(MAKER, ALL)
    assert not should_offload(MODEL, half)
    assert not should_offload(MAKER, replace(half, ram_total_bytes=5 * GB))
    less = replace(ALL, gpus=(replace(CARD, total_bytes=11 * GB),))
    for host in (less, LAPTOP):
        assert not should_offload(MAKER, host)
        assert check_modes(MAKER, host)[RunMode.IN_PROCESS].reason == "On the CPU."


def test_a_laptop_runs_it_by_itself() -> None:
    """Without GPU and vLLM: in-process on the CPU."""
    found = check_modes(MODEL, LAPTOP)
    assert [mode for mode, possible in found.items() if possible.ok] == [
        *(RunMode.IN_PROCESS, RunMode.REMOTE)
    ]
    assert found[RunMode.IN_PROCESS].reason == "On the CPU."
    assert choose_device(MODEL, LAPTOP) == "cpu"


def test_vllm_on_a_laptop_is_the_build_for_its_cpu() -> None:
    """One for a GPU has nothing to run on."""
    there = replace(LAPTOP, vllm=FOR_CPU)
    assert check_modes(MODEL, there)[RunMode.SUBPROCESS].reason == "vLLM 0.32.0 on the CPU."
    for host in (replace(there, vllm=VLLM), without(vllm=FOR_CPU)):
        assert not check_modes(MODEL, host)[RunMode.SUBPROCESS].ok


def test_what_vllm_does_not_know_is_for_transformers() -> None:
    never = MODEL.model_copy(update={"needs": {"transformers": ""}})
    assert "does not support qwen2_5_vl" in check_modes(never, ALL)[RunMode.CONTAINER].reason
    assert not check_modes(never, ALL)[RunMode.SUBPROCESS].ok


@given(
    gpus=st.lists(
        st.builds(
            HostGpu,
            st.sampled_from(Vendor),
            st.just("GPU"),
            st.none() | st.integers(0, 200 * GB),
            st.none() | st.integers(0, 200 * GB),
        ),
        max_size=3,
    ),
    ram=st.integers(0, 500 * GB),
    python=st.none() | st.just("/p"),
    known=st.sets(st.sampled_from(["torch", "transformers", "diffusers", "fastapi", "uvicorn"])),
    flags=st.lists(st.booleans(), min_size=6, max_size=6),
    model=st.sampled_from([MODEL, MAKER, MODEL.model_copy(update={"folder": None})]),
)
def test_every_no_is_a_sentence(
    gpus: list[HostGpu],
    ram: int,
    python: str | None,
    known: set[str],
    flags: list[bool],
    model: Model,
) -> None:
    host = Host(
        gpus=tuple(gpus),
        ram_total_bytes=ram,
        engine_python=python,
        libraries=dict.fromkeys(known, "9.9"),
        torch_device="cuda" if flags[0] else "",
        vllm=VLLM if flags[1] else None,
        docker="/d" if flags[2] else None,
        podman="/p" if flags[3] else None,
        container_socket_ok=flags[4],
        sandboxed=flags[5],
    )
    found = check_modes(model, host)
    assert set(found) == set(RunMode)
    for possible in found.values():
        assert possible.ok or len(possible.reason) > 20
        assert "  " not in possible.reason
        assert ".." not in possible.reason
        assert "None" not in possible.reason


@pytest.mark.parametrize(
    ("version", "wanted", "enough"),
    [
        ("4.49.0", "4.49.0", True),
        ("4.9", "4.49", False),
        ("4.57", "4.57.0", True),
        ("5", "4.49.0", True),
        ("0.32.0rc1+rocm", "0.32", True),
        ("2.13.0+cpu", "2.13.1", False),
        ("dev", "1.0", True),
        ("1.0", "", True),
    ],
)
def test_versions_count_by_their_numbers(version: str, wanted: str, enough: bool) -> None:
    """Not by their letters; what says nothing is given the benefit of the doubt."""
    assert is_at_least(version, wanted) is enough


def test_sizes_for_people() -> None:
    """One digit behind the point while that says something."""
    assert [format_gigabytes(count) for count in (1_015_000_000, 9_960_000_000)] == [
        "1.0 GB",
        "10 GB",
    ]


# The model that is proposed for a machine: its memory, its GPU, its disk, llama.cpp's server


ROOT = Path(__file__).resolve().parents[4]
GIB = 1024**3
PLENTY = 1000 * GB
LLAMA = LlamaServer("/usr/bin/llama-server", "9412", frozenset())


def machine(
    ram: float, *gpus: float, vendor: Vendor = Vendor.NVIDIA, llama: LlamaServer | None = LLAMA
) -> Host:
    """Memory in GiB, as it is sold."""
    cards = tuple(HostGpu(vendor, "a GPU", int(one * GIB), int(one * GIB)) for one in gpus)
    memory = int(ram * GIB)
    return Host(gpus=cards, ram_total_bytes=memory, ram_free_bytes=memory, llama=llama)


def apple(ram: float) -> Host:
    return replace(machine(ram), unified_bytes=int(ram * GIB * 2 / 3))


ENTRY = """
[[model]]
id = "some/{name}"
aliases = ["{name}"]
model_type = "vision"
architecture = "llava"
abilities = ["images"]
weights_bytes = {size}
memory_bytes = {memory}
{more}
"""
GGUF = """library = "llama.cpp"
quantization = "Q4_K_M"
weights_file = "one.gguf"
projector_file = "mmproj.gguf"
"""
DEFAULTS = (
    ("small", 2, "cpu", GGUF),
    ("smaller", 1, "cpu", GGUF),
    ("plain", 3, "cpu", ""),
    ("medium", 4.5, "gpu-8g", GGUF),
    ("eight", 11, "gpu-16g", GGUF),
    ("quick", 18.5, "gpu-24g", GGUF),
    ("large", 70, "mi300x", ""),
    ("none", 1.5, "", ""),
)


def catalogue() -> Catalogue:
    """A default for each class; most need llama.cpp's server. Sizes in GB, files a GB less."""
    text = "".join(
        ENTRY.format(
            name=name,
            size=int((memory - 1 or 0.5) * GB),
            memory=int(memory * GB),
            more=more + (f'default_for = "{default}"' if default else ""),
        )
        for name, memory, default, more in DEFAULTS
    )
    return Catalogue.read(text, "here")


def proposed(host: Host, free: int | None = PLENTY, models: Catalogue | None = None) -> str:
    model = propose(models or catalogue(), host, free).model
    return model.aliases[0] if model is not None else ""


def test_why_a_better_one_is_passed_over() -> None:
    models = list(catalogue())
    host = machine(64, 24)
    lacks = propose(models, replace(host, llama=None), PLENTY)
    assert lacks.model is None
    assert "quick would fit." in lacks.skipped[0]
    assert [text for text in lacks.skipped[1:] if "the profile gpu-24g" in text] == [
        *lacks.skipped[1:]
    ]
    assert len(lacks.skipped) == 2
    for other in (machine(64, 24, vendor=Vendor.AMD), apple(64)):
        (only,) = propose(models, replace(other, llama=None), PLENTY).skipped
        assert "vLLM" not in only
    assert (
        "This machine has a GPU, and llama.cpp's server for it (llama-server) was"
        in lacks.skipped[0]
    )
    full = propose(models, host, 8 * GB)
    assert full.model is not None
    assert full.model.default_for is MachineClass.GPU_8G
    assert [text.split(" needs ")[1].split(" of ")[0] for text in full.skipped] == [
        "18 GB",
        "10 GB",
    ]
    assert "8.0 GB are free" in full.skipped[0]
    none = propose(models, host, GB)
    assert none.model is None
    assert none.skipped
    here = [
        m.with_folder(Path("/m")) if m.default_for is MachineClass.GPU_24G else m for m in models
    ]
    found = propose(here, host, GB).model
    assert found is not None
    assert found.default_for is MachineClass.GPU_24G
    # A disk that does not tell is not in the way.
    assert proposed(host, None) == "quick"


def test_a_gpu_that_does_not_tell_its_memory_counts_for_nothing() -> None:
    card = HostGpu(Vendor.NVIDIA, "a part", None, None)
    host = replace(machine(16), gpus=(card,))
    assert proposed(host) == "small"


def test_a_catalogue_of_ones_own_has_no_defaults() -> None:
    """The largest that fits is proposed then; none with code of its own that nobody has allowed."""
    sizes = (("a", 10**9, ""), ("b", 3 * 10**9, ""), ("c", 10**12, ""))
    text = "".join(ENTRY.format(name=n, size=1000, memory=m, more=x) for n, m, x in sizes)
    text += ENTRY.format(name="own", size=1000, memory=4 * 10**9, more="remote_code = true")
    models = Catalogue.read(text, "here")
    found = propose(models, machine(8), PLENTY).model
    assert found is models.require("b")
    trusting = Host(ram_total_bytes=8 * GIB, trust_remote_code=True)
    assert propose(models, trusting, PLENTY).model is models.require("own")


def test_only_the_largest_are_served_by_vllm() -> None:
    models = catalogue()
    for host, served in ((machine(8), False), (machine(64, 24), False), (machine(128, 192), True)):
        found = propose(models, host, PLENTY)
        assert found.needs_vllm is served


def test_minutes_of_a_download() -> None:
    """At 50 Mbit/s, and never none."""
    assert estimate_minutes(1) == 1
    assert estimate_minutes(375_000_000) == 1
    assert estimate_minutes(3_750_000_000) == 10


@pytest.mark.parametrize(
    "model", [one for one in Catalogue.load() if one.default_for], ids=lambda model: model.id
)
def test_a_default_is_free_to_use_and_named(model: Model) -> None:
    """Somebody who says yes gets no licence to read, and a name to type."""
    assert model.licence == "Apache-2.0"
    assert model.answers
    assert model.aliases
    assert not model.remote_code


def test_every_class_of_machines_has_a_default() -> None:
    """Else a machine of it would get the next smaller one without a word."""
    assert {model.default_for for model in Catalogue.load()} - {None} == set(MachineClass)


@pytest.mark.parametrize(
    ("host", "with_llama", "without"),
    [
        (machine(2), "", ""),
        (machine(3), "qwen3.5-0.8b", "smolvlm2-256m"),
        # Large memory makes no processor quick.
        (machine(256), "small", "qwen3.5-0.8b-bf16"),
        (machine(4), "small", "qwen3.5-0.8b-bf16"),
        (machine(16), "small", "qwen3.5-0.8b-bf16"),
        # Without it a GPU gets no model for a processor.
        (machine(16, 4), "small", ""),
        (machine(16, 8), "medium", ""),
        (machine(32, 12), "qwen3-vl-8b-q8", ""),
        (machine(32, 16), "qwen3-vl-8b-q8", ""),
        (machine(64, 24), "qwen3.8-27b-q4", ""),
        (machine(64, 12, 12), "qwen3.8-27b-q4", ""),
        # Apple's, two thirds of whose memory the GPU may have; vLLM's is not for it.
        (apple(8), "medium", ""),
        (apple(24), "qwen3-vl-8b-q8", ""),
        (apple(48), "qwen3.8-27b-q4", ""),
        (apple(192), "qwen3.8-27b-q4", ""),
        (machine(128, 80), "large", "large"),
        (machine(256, 141), "large", "large"),
        (machine(256, 192, vendor=Vendor.AMD), "large", "large"),
    ],
)
def test_ours_has_a_model_for_machines_as_they_are_sold(
    host: Host, with_llama: str, without: str
) -> None:
    ours = Catalogue.load()
    assert proposed(host, models=ours) == with_llama
    assert proposed(replace(host, llama=None), models=ours) == without


def test_the_page_names_the_sizes_of_the_catalogue() -> None:
    """Its dialog of basic mode names the small default and a large model before any server tells of them."""
    page = (ROOT / "client/core/dialogs/dialogs.js").read_text("utf-8")
    ways = re.findall(r'\["simple\.(\w+)", ([\d.]+), "([^"]+)"', page)
    sizes = {name: f"{size} GB" for name, size, _ in ways}
    ours = Catalogue.load()
    small = next(model for model in ours if model.default_for is MachineClass.CPU)
    served = next(command for name, _, command in ways if name == "large").split()
    assert sizes["small"] == format_gigabytes(small.weights_bytes)
    assert sizes["large"] == format_gigabytes(ours.require(served[2]).weights_bytes)
