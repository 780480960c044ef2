"""From a choice to the command: the model, the machine, and a sentence for what cannot be."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from server.features.hosting.catalogue.choice import Choice, CommandError
from server.features.hosting.catalogue.entry import CatalogueError, RunMode
from server.features.hosting.catalogue.folder import ModelFolderError
from server.features.hosting.catalogue.machine import Host, HostGpu, Vendor
from server.features.hosting.catalogue.vllm import Vllm
from server.features.hosting.host import HostProbe
from server.features.hosting.planner import Planner
from tests.features.hosting.catalogue.test_folder import QWEN, beside, safetensors, write

GB = 10**9
PYTHON = Host(
    ram_total_bytes=16 * GB,
    ram_free_bytes=8 * GB,
    engine_python="/opt/models/bin/python",
    libraries={"torch": "2.13.0", "transformers": "5.23.0"},
)


class Told(HostProbe):
    """A machine that is what the test says."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
        # For each call, the value of `vllm`
        self.looked: list[bool] = []

    def probe(self, *, vllm: bool = True, timeout: float | None = None) -> Host:
        self.looked.append(vllm)
        return self.host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "models" / "mine"
    write(model / "config.json", QWEN)
    beside(model)
    safetensors(model / "model.safetensors")
    return model


def planner(folder: Path, host: Host = PYTHON) -> Planner:
    return Planner(Told(host), (folder.parent,))


def test_a_model_is_found_by_its_folder_and_by_its_name(folder: Path) -> None:
    """Both give the same command; the catalogue lists it among the others."""
    one = planner(folder)
    by_folder = one.plan(Choice(model=str(folder), mode=RunMode.IN_PROCESS))
    by_name = one.plan(Choice(model="mine", mode=RunMode.IN_PROCESS))
    assert by_folder.launch.argv == by_name.launch.argv
    assert by_folder.launch.argv[0] == "/opt/models/bin/python"
    assert by_name.model_id == "mine"
    assert "mine" in {model.id for model in one.read_catalogue()}
    assert one.known


@pytest.mark.parametrize(
    ("choice", "error", "what"),
    [
        ({"model": "/nowhere/at/all"}, ModelFolderError, "There is no folder /nowhere/at/all"),
        ({"model": "no-such-model"}, CatalogueError, "no model no-such-model"),
        ({"model": "smolvlm2-256m"}, CommandError, "run.sh --model smolvlm2-256m"),
        ({"model": "mine", "mode": "container"}, CommandError, "Neither docker nor podman"),
        ({"model": "mine", "context": 100_000}, CommandError, "supports at most 4096 tokens"),
    ],
)
def test_what_can_not_be_is_a_sentence(
    folder: Path, choice: dict[str, object], error: type[Exception], what: str
) -> None:
    with pytest.raises(error) as caught:
        planner(folder).plan(Choice.read({"mode": "in_process", **choice}))
    assert what in getattr(caught.value, "message", "")


@pytest.mark.parametrize(
    ("setting", "chosen", "tokens"),
    [(8192, None, "4096"), (2000, None, "2000"), (131_072, None, "4096"), (2000, 3000, "3000")],
)
def test_the_context_is_the_settings_or_the_models_own(
    folder: Path, setting: int, chosen: int | None, tokens: str
) -> None:
    """The default is the smaller of the setting and the model's 4,096 tokens."""
    one = Planner(Told(PYTHON), (folder.parent,), context=setting)
    argv = one.plan(Choice(model="mine", mode=RunMode.IN_PROCESS, context=chosen)).launch.argv
    assert argv[argv.index("--context") + 1] == tokens


def test_each_start_has_a_key_of_its_own(folder: Path) -> None:
    """vLLM is given a random one by the environment, which is never shown."""
    flags = frozenset({"--host", "--port", "--max-model-len", "--no-enable-log-requests"})
    host = replace(
        PYTHON,
        gpus=(HostGpu(Vendor.NVIDIA, "card", 80 * GB, 80 * GB),),
        vllm=Vllm("0.32.0", flags, words=("/opt/vllm", "serve")),
    )
    one = planner(folder, host)
    launches = [one.plan(Choice(model="mine", mode=RunMode.SUBPROCESS)).launch for _ in range(2)]
    keys = {launch.env["VLLM_API_KEY"] for launch in launches}
    assert len(keys) == 2
    assert all(len(key) >= 24 for key in keys)
    assert not any(key in launch.shown for key in keys for launch in launches)


def test_only_what_may_start_vllm_waits_for_its_help(folder: Path) -> None:
    """It takes many seconds; a model here or elsewhere does not wait for that."""
    told = Told(PYTHON)
    one = Planner(told, [folder.parent])
    one.plan(Choice(model="mine", mode=RunMode.IN_PROCESS))
    one.plan(Choice(mode=RunMode.REMOTE, url="http://192.0.2.7:8001/v1"))
    with suppress(CommandError):
        one.plan(Choice(model="mine", mode=RunMode.SUBPROCESS))
    assert told.looked == [False, False, True]


def test_a_remote_server_needs_no_model_here(folder: Path) -> None:
    choice = Choice(mode=RunMode.REMOTE, url="http://192.0.2.7:8001/v1")
    plan = planner(folder, Host()).plan(choice)
    assert (plan.model, plan.launch.base_url) == (None, "http://192.0.2.7:8001/v1")
    assert (plan.model_id, plan.name) == ("", "The remote model")
    assert plan.get_display_id() == "the first model at 192.0.2.7:8001"
    assert plan.get_display_id("their/model") == "their/model"


def test_a_path_is_a_name_to_a_remote_server(folder: Path) -> None:
    """`transformers serve` there calls a model by its path, whatever there is here."""
    for name in ("/srv/models/theirs", str(folder)):
        choice = Choice(model=name, mode=RunMode.REMOTE, url="http://192.0.2.7:8001/v1")
        plan = planner(folder, Host()).plan(choice)
        assert (plan.model, plan.launch.served_name) == (None, name)


def test_what_is_wrong_with_a_folder_is_told_beside_the_others(folder: Path) -> None:
    write(folder.parent / "broken" / "config.json", {"model_type": "qwen2_5_vl"})
    one = planner(folder)
    found = one.read_catalogue()
    assert found.find("mine") is not None
    assert [str(folder.parent / "broken") in trouble for trouble in found.errors] == [True]
