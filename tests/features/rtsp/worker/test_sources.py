"""A device of this machine as a camera: how it is opened, and the words about one that cannot be."""

from __future__ import annotations

import errno
from typing import Any

import av
import pytest

from server.features.rtsp.worker import sources
from server.features.rtsp.worker.sources import Address
from server.features.rtsp.worker.trouble import SourceFailed, Trouble


def failure(path: str) -> SourceFailed:
    with pytest.raises(SourceFailed) as failed:
        sources.read(Address(path, "", "", "", False), lambda codec, sets: None, lambda unit: None)
    return failed.value


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("/dev/video250", Trouble.DEVICE_MISSING),
        ("/dev/null", Trouble.DEVICE_OTHER),
        (__file__, Trouble.DEVICE_OTHER),
        ("/dev", Trouble.DEVICE_OTHER),
    ],
)
def test_what_is_no_camera(path: str, trouble: Trouble) -> None:
    assert failure(path).trouble is trouble


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (errno.EACCES, Trouble.DEVICE_FORBIDDEN),
        (errno.EBUSY, Trouble.DEVICE_BUSY),
        (errno.ENODEV, Trouble.DEVICE_MISSING),
    ],
)
def test_a_device_is_opened_as_one(
    code: int, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Video4Linux and nothing else, as a camera that sends JPEGs; its refusal has words."""
    opened: dict[str, Any] = {}

    def refuses(path: str, **options: Any) -> None:
        opened.update(options, path=path)
        raise OSError(code, "refused")

    monkeypatch.setattr(av, "open", refuses)
    assert failure("/dev/video0").trouble is trouble
    assert (opened["path"], opened["format"]) == ("/dev/video0", "v4l2")
    assert opened["options"] == {"input_format": "mjpeg"}
    assert all(opened["timeout"])
