"""The settings of a dry run without packages, beside those of the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from config import ConfigError, Settings, load
from scripts.models import bare_settings
from scripts.models.trouble import ModelError

KEPT = (*bare_settings.NUMBERS, *bare_settings.TEXTS)


def test_defaults_and_bounds_are_those_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEPT:
        monkeypatch.delenv(name.upper(), raising=False)
    bare, whole = bare_settings.read(tmp_path / "none"), load(None)
    for name in KEPT:
        if name != "vllm_api_key":
            assert getattr(bare, name) == getattr(whole, name)
    assert bare.vllm_api_key.get_secret_value() == whole.vllm_api_key.get_secret_value()
    assert bare.vllm_base_urls == whole.vllm_base_urls
    for name, (_, least, most) in bare_settings.NUMBERS.items():
        low, high = Settings.model_fields[name].metadata
        assert (low.ge, high.le) == (least, most)


@pytest.mark.parametrize(
    "text",
    [
        "A=b",
        "A = b # c",
        "A=b#c",
        "export A='b # c' # d",
        'A="x\\ny\\"z"',
        "A='x\\ny'",
        "A=1\nB=${A}-${C:-d}-${E}\nA=2",
        "A=\nB",
        "# A=b\n\n  A=b  \n",
        'A="two\nlines"\nB=1',
        "A='b' c\nB=2",
        "A='b\nB=2",
        "'A'=b\r\nB=2\r\n",
        "A=b=c==",
        "=b\nA=1",
    ],
)
def test_a_file_is_read_as_the_server_reads_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings"
    file.write_bytes(text.encode())
    whole = {name.lower(): value for name, value in dotenv_values(file).items() if value}
    found = {name: value for name, value in bare_settings.file_values(file).items() if value}
    assert found == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GPU_MEMORY_UTILIZATION", "2"),
        ("GPU_MEMORY_UTILIZATION", "nan"),
        ("MODEL_MAX_TOKENS", "many"),
        ("MODEL_MAX_TOKENS", "4096.5"),
        ("MODEL_DTYPE", "int8"),
        ("VLLM_BASE_URL", "ftp://127.0.0.1/v1"),
    ],
)
def test_what_the_server_refuses_is_refused(tmp_path: Path, name: str, value: str) -> None:
    file = tmp_path / "settings"
    file.write_text(f"{name}={value}")
    with pytest.raises(ConfigError, match=name):
        load(file)
    with pytest.raises(ModelError, match=name):
        bare_settings.read(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_bytes(b"A=\xff")
    with pytest.raises(ModelError, match="cannot be read as UTF-8 text"):
        bare_settings.read(file)
