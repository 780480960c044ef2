"""The errors a client may receive. A feature defines its own beside the code that raises them.

`too_long` is for text that a person can shorten; any other field out of its bounds is `bad_request`.
`conflict` is for a limit that waiting does not lift, `rate_limited` for one that it does.

Each message says what happened, what was given, what is allowed and what to do. It never contains a token, a secret, a
question, an answer or the raw text of another service. An error may have two texts: `message`, for operators and the
log, may name addresses, settings and commands; `visitor_message`, for everybody else, names none.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class Collision(ValueError):
    """Two features define the same name, so the server cannot start with both.

    Not a QwenCameraError: no client receives it.
    """


def check_unique(kind: str, brought: Iterable[tuple[str, str]]) -> None:
    """Raise Collision if two modules define the same name. `brought`: each name with its module."""
    modules: dict[str, str] = {}
    for name, module in brought:
        if (other := modules.setdefault(name, module)) != module:
            raise Collision(
                f"{other} and {module} both define the {kind} {name}. Rename one, or remove one feature from FEATURES."
            )


class QwenCameraError(Exception):
    """Base class of all errors that a client may receive."""

    # The module that defines each code
    _modules: ClassVar[dict[str, str]] = {}
    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    # Default text for visitors if `message` is meant for operators; else ""
    for_visitors: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        if "code" in vars(cls):
            first = cls._modules.setdefault(cls.code, cls.__module__)
            check_unique("error code", ((cls.code, first), (cls.code, cls.__module__)))

    def __init__(
        self, message: str, *, retry_after: float | None = None, visitors: str = ""
    ) -> None:
        """Create the error. `visitors`: text for visitors if `message` names a setting, an address or a command."""
        super().__init__(message)
        self.message = message
        # Text for clients without the operator token
        self.visitor_message = visitors or self.for_visitors or message
        # Seconds after which a retry may succeed; None if unknown
        self.retry_after = retry_after


class RequestError(QwenCameraError):
    """The request cannot succeed without a change."""

    code = "bad_request"
    status = 400


class BadRequest(RequestError):
    """Malformed JSON, or a field out of its bounds."""

    code = "bad_request"


class TooLong(RequestError):
    """A question over 4000 characters, or a condition over 200."""

    code = "too_long"


class UnknownType(RequestError):
    """An unknown message type."""

    code = "unknown_type"


class Unauthorized(RequestError):
    """No token, a wrong, expired or revoked one, or a wrong code."""

    code = "unauthorized"
    status = 401


class Forbidden(RequestError):
    """The origin or the host is not allowed, or the operator has disabled this function."""

    code = "forbidden"
    status = 403


class UploadRefused(RequestError):
    """A request to an upload address: the server accepts no uploads."""

    code = "upload_refused"
    status = 403


class NotFound(RequestError):
    """No such address, session, connection, result, watch or alert."""

    code = "not_found"
    status = 404


class Conflict(RequestError):
    """A late attempt, ICE that cannot restart, or a ninth watch."""

    code = "conflict"
    status = 409


class WrongModel(RequestError):
    """The loaded model cannot do this; another model can."""

    code = "wrong_model"
    status = 409


class TooLarge(RequestError):
    """A body over 128 KiB, or SDP over 64 KiB."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(RequestError):
    """The `Content-Type` is not supported."""

    code = "unsupported_media_type"
    status = 415


class UnusableOffer(RequestError):
    """The offer is malformed, or contains no decodable video."""

    code = "unusable_offer"
    status = 422


class RateLimited(RequestError):
    """Too many requests in a short time."""

    code = "rate_limited"
    status = 429
    retryable = True


class CameraError(QwenCameraError):
    """No frame is available for a question."""

    status = 503
    retryable = True


class NoCamera(CameraError):
    """No camera is connected."""

    code = "no_camera"


class CameraStalled(CameraError):
    """No new picture arrived in time: 3 s, more for a source that sends few."""

    code = "camera_stalled"


class CameraFrozen(CameraError):
    """The camera repeats the same picture."""

    code = "camera_frozen"


class PictureBlack(CameraError):
    """The camera is covered or in the dark; no model was asked."""

    code = "picture_black"


class FrameWithheld(CameraError):
    """A privacy filter withheld the frame."""

    code = "frame_withheld"


class EngineError(QwenCameraError):
    """The engine did not answer. With `public`, visitors get `message`, else `for_visitors`."""

    code = "engine_failed"
    status = 503
    retryable = True
    for_visitors = "The model could not finish this answer. Ask again."

    def __init__(
        self, message: str, *, retry_after: float | None = None, public: bool = False
    ) -> None:
        super().__init__(message, retry_after=retry_after, visitors=message if public else "")


class EngineUnavailable(EngineError):
    """No model answers."""

    code = "engine_unavailable"
    for_visitors = (
        "The model is not available right now. Ask again later, or tell your administrator."
    )


class EngineLoading(EngineError):
    """The model is being loaded."""

    code = "engine_loading"
    for_visitors = "The model is being loaded. Ask again in a moment."


class EngineTimeout(EngineError):
    """The model took too long."""

    code = "engine_timeout"
    for_visitors = "The model took too long to answer. Ask again in a moment."


class EngineRefused(EngineError):
    """The model refused the request."""

    code = "engine_refused"
    retryable = False
    for_visitors = "The model cannot answer this question. Tell your administrator."


class TooManyCameras(EngineError):
    """The model does not accept so many cameras in one question."""

    code = "too_many_cameras"
    retryable = False


class EngineFailed(EngineError):
    """The model failed."""

    code = "engine_failed"


class OperatorError(QwenCameraError):
    """A program, a file or a setting of this machine is misconfigured; `message` is for operators and the log.

    Subclasses are defined beside the code that raises them. Errors caught only in their own folder, and those of
    programs that run without the server (workers, scripts, `features/hosting/gpu.py`), are not part of this tree.
    """

    for_visitors = "This server is not configured correctly. Tell your administrator."


class Elsewhere(QwenCameraError):
    """The session belongs to another process; follow `Location`.

    The load balancer routes requests for `location` to that process.
    """

    code = "elsewhere"
    status = 307
    retryable = True

    def __init__(self, location: str) -> None:
        super().__init__(
            "Another process has this session. Repeat the request with ?session=<id>, as in Location."
        )
        self.location = location


class NotConfirmed(QwenCameraError):
    """Pictures would be sent to a machine that the visitor has not confirmed."""

    code = "not_confirmed"
    status = 409
    retryable = True


class Busy(QwenCameraError):
    """The queue is full, or all sessions are taken."""

    code = "busy"
    status = 503
    retryable = True


class PortsExhausted(QwenCameraError):
    """Every port of UDP_PORT_RANGE is in use."""

    code = "ports_exhausted"
    status = 503
    retryable = True


class Draining(QwenCameraError):
    """The server is about to stop."""

    code = "draining"
    status = 503
    retryable = True


class Internal(QwenCameraError):
    """An internal error of the server."""

    code = "internal"


class SocketCloseCode(IntEnum):
    """The close codes of /ws.

    The server accepts every socket before it closes it with one of these, because browsers cannot
    read the status of a refused upgrade. On a message that is not UTF-8, the WebSocket library
    closes with 1007.
    """

    # The session ended without an error (RFC 6455, section 7.4.1, as for all codes below 4000).
    NORMAL = 1000
    # A binary message: send text.
    UNSUPPORTED = 1003
    # `page` or `attempt` is malformed.
    POLICY = 1008
    # A message is larger than 64 KiB.
    TOO_LARGE = 1009
    # An internal error of the server: connect again.
    INTERNAL = 1011
    # The server is about to stop: connect again after some seconds.
    DRAINING = 1013
    # Not authorised, or no token within 5 s: get a new one.
    UNAUTHORIZED = 4401
    # This origin is not allowed.
    FORBIDDEN_ORIGIN = 4403
    # The session does not exist or has ended: get a new token, which starts a new session.
    NO_SESSION = 4404
    # No activity for `SESSION_TIMEOUT`: get a new token when the user is back.
    IDLE = 4408
    # A newer socket of the same session replaced it.
    REPLACED = 4409
    # The operator ended the session.
    TAKEN_BACK = 4410
    # Too many sockets, sessions or messages, or a client that reads too slowly: wait, then connect again.
    TOO_MANY = 4429
