"""The model that is proposed for a machine: its memory, its GPU, its disk, llama.cpp's server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from server.features.hosting.catalogue.entry import Catalogue, Model
from server.features.hosting.catalogue.llama_cpp import LlamaServer
from server.features.hosting.catalogue.machine import (
    GB,
    Host,
    HostGpu,
    MachineClass,
    Vendor,
    gigabytes,
)
from server.features.hosting.catalogue.proposal import ROOM_LEFT, minutes, propose

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


@pytest.mark.parametrize(
    ("host", "with_llama", "without"),
    [
        (machine(1.5), "", ""),
        (machine(2), "smaller", ""),
        (machine(3), "small", ""),
        (machine(4), "small", "plain"),
        # Large memory makes no processor quick.
        (machine(256), "small", "plain"),
        (machine(16, 4), "small", "plain"),
        (machine(16, 8), "medium", "plain"),
        (machine(16, 10), "medium", "plain"),
        (machine(32, 12), "eight", "plain"),
        (machine(32, 16), "eight", "plain"),
        # Without it a GPU of this size gets no model for a processor.
        (machine(64, 24), "quick", ""),
        (machine(64, 12, 12), "quick", ""),
        (machine(64, 48), "quick", ""),
        # Apple's, two thirds of whose memory the GPU may have; vLLM's is not for it.
        (apple(8), "medium", "plain"),
        (apple(18), "eight", "plain"),
        (apple(32), "quick", ""),
        (apple(192), "quick", ""),
        (machine(128, 80), "large", "large"),
        (machine(256, 141), "large", "large"),
        (machine(256, 192, vendor=Vendor.AMD), "large", "large"),
    ],
)
def test_each_machine_gets_the_default_of_its_class(
    host: Host, with_llama: str, without: str
) -> None:
    """The largest that fits, of those that can run; without llama.cpp's server another one."""
    assert proposed(host) == with_llama
    assert proposed(replace(host, llama=None)) == without


def test_why_a_better_one_is_passed_over() -> None:
    """Without llama.cpp's server, or without room; one that is here already needs none."""
    models = list(catalogue())
    host = machine(64, 24)
    lacks = propose(models, replace(host, llama=None), PLENTY)
    assert lacks.model is None
    assert "quick would fit." in lacks.passed[0]
    assert [text for text in lacks.passed[1:] if "the profile gpu-24g" in text] == [
        *lacks.passed[1:]
    ]
    assert len(lacks.passed) == 2
    for other in (machine(64, 24, vendor=Vendor.AMD), apple(64)):
        (only,) = propose(models, replace(other, llama=None), PLENTY).passed
        assert "vLLM" not in only
    assert "llama.cpp's server (llama-server) was not found. Install it:" in lacks.passed[0]
    full = propose(models, host, 8 * GB)
    assert full.model is not None
    assert full.model.default_for is MachineClass.GPU_8G
    assert [text.split(" needs ")[1].split(" on ")[0] for text in full.passed] == ["18 GB", "10 GB"]
    assert "8.0 GB are free" in full.passed[0]
    none = propose(models, host, GB)
    assert none.model is None
    assert none.passed
    here = [m.at(Path("/m")) if m.default_for is MachineClass.GPU_24G else m for m in models]
    found = propose(here, host, GB).model
    assert found is not None
    assert found.default_for is MachineClass.GPU_24G
    # A disk that does not tell is not in the way.
    assert proposed(host, None) == "quick"


def test_a_gpu_that_does_not_tell_its_memory_counts_for_nothing() -> None:
    """A part of a divided one; the processor is left."""
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
    """llama.cpp's models and those for a processor are started here."""
    models = catalogue()
    for host, served in ((machine(8), False), (machine(64, 24), False), (machine(128, 192), True)):
        found = propose(models, host, PLENTY)
        assert found.served is served


def test_minutes_of_a_download() -> None:
    """At 50 Mbit/s, and never none."""
    assert minutes(1) == 1
    assert minutes(375_000_000) == 1
    assert minutes(3_750_000_000) == 10


@pytest.mark.parametrize(
    "model", [one for one in Catalogue.load() if one.default_for], ids=lambda model: model.id
)
def test_a_default_is_free_to_use_and_named(model: Model) -> None:
    """Somebody who says yes gets no licence to read, and a name to type."""
    assert model.licence == "Apache-2.0"
    assert model.answers
    assert model.aliases
    assert not model.remote_code
    assert ROOM_LEFT > 0


def test_every_class_of_machines_has_a_default() -> None:
    """Else a machine of it would get the next smaller one without a word."""
    assert {model.default_for for model in Catalogue.load()} - {None} == set(MachineClass)


@pytest.mark.parametrize(
    ("host", "with_llama", "without"),
    [
        (machine(2), "", ""),
        (machine(3), "qwen3.5-0.8b", "smolvlm2-256m"),
        (machine(4), "small", "qwen3.5-0.8b-bf16"),
        (machine(16), "small", "qwen3.5-0.8b-bf16"),
        (machine(16, 4), "small", "qwen3.5-0.8b-bf16"),
        (machine(16, 8), "medium", "qwen3.5-0.8b-bf16"),
        (machine(32, 12), "qwen3-vl-8b-q8", "qwen3.5-0.8b-bf16"),
        (machine(32, 16), "qwen3-vl-8b-q8", "qwen3.5-0.8b-bf16"),
        (machine(64, 24), "qwen3.8-27b-q4", ""),
        (apple(8), "medium", "qwen3.5-0.8b-bf16"),
        (apple(24), "qwen3-vl-8b-q8", "qwen3.5-0.8b-bf16"),
        (apple(48), "qwen3.8-27b-q4", ""),
        (machine(128, 80), "large", "large"),
        (machine(256, 141), "large", "large"),
        (machine(256, 192, vendor=Vendor.AMD), "large", "large"),
    ],
)
def test_ours_has_a_model_for_machines_as_they_are_sold(
    host: Host, with_llama: str, without: str
) -> None:
    """With llama.cpp's server, and without it."""
    ours = Catalogue.load()
    assert proposed(host, models=ours) == with_llama
    assert proposed(replace(host, llama=None), models=ours) == without


def test_the_page_names_the_sizes_of_the_catalogue() -> None:
    """Its dialog of simple mode names the small default and a large model before any server tells of them."""
    page = (ROOT / "client/core/dialogs/dialogs.js").read_text("utf-8")
    ways = re.findall(r'\["simple\.(\w+)", ([\d.]+), "([^"]+)"', page)
    sizes = {name: f"{size} GB" for name, size, _ in ways}
    ours = Catalogue.load()
    small = next(model for model in ours if model.default_for is MachineClass.CPU)
    served = next(command for name, _, command in ways if name == "large").split()
    assert sizes["small"] == gigabytes(small.weights_bytes)
    assert sizes["large"] == gigabytes(ours.require(served[2]).weights_bytes)
