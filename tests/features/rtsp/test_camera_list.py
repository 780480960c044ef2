"""The list of cameras of the house: what stands in it, and what is refused without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, load
from server.features.rtsp.settings import MOST_CAMERAS, FixedCamera, RtspSettings, read_list

SECRET = "hunter2-of-the-door"
DOOR = f"""
[[camera]]
name = "front-door"
url = "rtsp://192.168.1.20:554/stream1?channel=1"
user = "viewer"
password = "{SECRET}"
watches = ["a parcel lies at the door"]
engines = ["GPU.example.org"]
"""


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "cameras.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_list(tmp_path: Path) -> None:
    """Credentials stand beside the URL; what is shown of an address has no path and no query."""
    path = written(tmp_path, DOOR + '[[camera]]\nname = "yard"\nurl = "/dev/video0"\n')
    door, yard = read_list(path)
    assert (door.name, door.user, door.password) == ("front-door", "viewer", SECRET)
    assert (door.watches, door.engines) == (("a parcel lies at the door",), ("gpu.example.org",))
    assert door.where == "rtsp://192.168.1.20:554"
    assert (yard.where, yard.describe, yard.clear_password) == ("/dev/video0", False, False)
    assert SECRET not in repr(door)
    assert "stream1" not in repr(door)
    assert read_list(written(tmp_path, "")) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[camera]]\nname = "a"\nurl = "rtsp://u:p@host/x"\n', "the keys user and password"),
        ('[[camera]]\nname = "a"\nurl = "file:///etc/passwd"\n', "no url"),
        ('[[camera]]\nname = "a"\nurl = "udp://host:1"\n', "no url"),
        ('[[camera]]\nname = "a"\nurl = "/etc/passwd"\n', "no url"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/\\r\\nX: y"\n', "not one line of text"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host:99999/x"\n', "port"),
        ('[[camera]]\nname = "A b"\nurl = "rtsp://host/x"\n', "no name"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\npassword = "p"\n', "no user"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nuser = "a:b"\n', "colon"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nfps = 3\n', "allowed are"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nwatches = "x"\n', "list of texts"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\ndescribe = 1\n', "neither true"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\n' * 2, "two cameras"),
        ("[camera]\n", "something other"),
        ("camera = [1]\n", "not a table"),
        ("x = ", "not TOML"),
        (
            "".join(
                f'[[camera]]\nname = "c{n}"\nurl = "rtsp://h/x"\n' for n in range(MOST_CAMERAS + 1)
            ),
            "at most 16",
        ),
        ("#" * 70_000, "bytes"),
    ],
)
def test_what_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """Each with a sentence that says what is allowed."""
    with pytest.raises(ValueError, match=words):
        read_list(written(tmp_path, text))


def test_no_secret_is_in_an_error(tmp_path: Path) -> None:
    """Neither when the file is not TOML at the password's line, nor when a URL has it."""
    for text in (
        f'[[camera]]\nname = "a"\npassword = "{SECRET}\n',
        f'[[camera]]\nname = "a"\nurl = "rtsp://viewer:{SECRET}@host/x"\n',
        f'[[camera]]\nname = "a"\n{SECRET} = 1\n'.replace("hunter2", "x@hunter2"),
    ):
        with pytest.raises(ValueError) as refused:
            read_list(written(tmp_path, text))
        assert SECRET not in str(refused.value)


def test_passwords_are_for_the_owner_alone(tmp_path: Path) -> None:
    """A list with passwords that others can read stops the start; one without needs no care."""
    path = written(tmp_path, DOOR, 0o644)
    with pytest.raises(ConfigError) as refused:
        load(env_file=None, standing_cameras=str(path))
    assert "chmod 600" in refused.value.message
    assert SECRET not in refused.value.message
    assert RtspSettings.of(
        load(env_file=None, standing_cameras=str(written(tmp_path, DOOR)))
    ).standing_cameras
    plain = written(tmp_path, '[[camera]]\nname = "a"\nurl = "rtsp://host/x"\n', 0o644)
    assert read_list(plain) == (FixedCamera("a", "rtsp://host/x"),)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="STANDING_CAMERAS"):
        load(env_file=None, standing_cameras=str(tmp_path / "none.toml"))
