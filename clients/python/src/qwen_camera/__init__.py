"""Ask a person's live camera, with the access that the person has given.

    async with Camera("https://camera.example.org", token) as camera:
        print(await camera.ask("What is on the table?"))

Each error is a `CameraError` whose text says what to do.
"""

from qwen_camera.answers import Access, Answer, Box, Earlier, Event, Found, Snapshot, Watch
from qwen_camera.camera import Camera
from qwen_camera.errors import (
    BadInput,
    Busy,
    CameraError,
    CameraOff,
    ModelFailed,
    NotPossible,
    PageClosed,
    RateLimited,
    ScopeMissing,
    ServerGone,
    TokenRefused,
)
from qwen_camera.stream import Asking

__version__ = "1.0.0"
__all__ = [
    "Access",
    "Answer",
    "Asking",
    "BadInput",
    "Box",
    "Busy",
    "Camera",
    "CameraError",
    "CameraOff",
    "Earlier",
    "Event",
    "Found",
    "ModelFailed",
    "NotPossible",
    "PageClosed",
    "RateLimited",
    "ScopeMissing",
    "ServerGone",
    "Snapshot",
    "TokenRefused",
    "Watch",
]
