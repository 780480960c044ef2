"""The metrics: their names, and labels that are bounded sets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.support.clients import http, take_token, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.running import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Every name of the contract without the prefix, with its kind and labels.
CONTRACT: dict[str, tuple[str, tuple[str, ...]]] = {
    "sessions": ("gauge", ()),
    "sockets": ("gauge", ()),
    "cameras": ("gauge", ("state",)),
    "queue_depth": ("gauge", ("kind",)),
    "engine_up": ("gauge", ("engine",)),
    "role_engine": ("gauge", ("role", "engine")),
    "build_info": ("gauge", ("version",)),
    "frames_received": ("counter", ()),
    "frames_sampled": ("counter", ()),
    "frames_skipped": ("counter", ("reason",)),
    "sound_packets_dropped": ("counter", ("reason",)),
    "stills": ("counter", ("result",)),
    "guidance_checks": ("counter", ("result",)),
    "guidance_looks": ("counter", ("result",)),
    "scan_looks": ("counter", ("result",)),
    "glances": ("counter", ("result",)),
    "boxes_beyond": ("counter", ("result",)),
    "second_looks": ("counter", ("result",)),
    "recall_pictures": ("counter", ("result",)),
    "recall_bytes": ("gauge", ()),
    "sent_pictures": ("counter", ("result",)),
    "sent_picture_bytes": ("gauge", ()),
    "frames_replaced": ("counter", ()),
    "inferences": ("counter", ("kind", "result")),
    "generations": ("counter", ("kind", "result")),
    "generations_dropped": ("counter", ()),
    "cancellations": ("counter", ("reason",)),
    "tool_calls": ("counter", ("result",)),
    "engine_retries": ("counter", ("reason",)),
    "tokens": ("counter", ("direction",)),
    "visual_tokens": ("counter", ()),
    "visual_tokens_saved": ("counter", ()),
    "errors": ("counter", ("code",)),
    # Beyond the contract: what was dropped for want of room.
    "messages_dropped": ("counter", ()),
    "pictures_ahead": ("counter", ()),
    "looks": ("counter", ("why",)),
    "descriptions_unchanged": ("counter", ()),
    "log_lines_dropped": ("counter", ()),
    "limiter_forgotten": ("counter", ()),
    "loop_failures": ("counter", ("loop",)),
    "limits_shared": ("gauge", ()),
    "shared_limits_failures": ("counter", ()),
    "gateways": ("gauge", ("state",)),
    "sessions_sent_on": ("counter", ()),
    "draining": ("gauge", ("by",)),
    "sessions_moved": ("counter", ()),
    "standing_cameras": ("gauge", ("state",)),
    "standing_failures": ("counter", ("reason",)),
    "programs": ("counter", ("what",)),
    "relays": ("gauge", ("state",)),
    "datagrams_refused": ("counter", ("reason",)),
    "connections": ("gauge", ()),
    "connections_refused": ("counter", ()),
    "connections_cut_off": ("counter", ()),
    "sockets_flooded": ("counter", ()),
    "alerts": ("counter", ()),
    "alerts_dropped": ("counter", ()),
    "watch_frames_dropped": ("counter", ()),
    "watch_detector_looks": ("counter", ("result",)),
    "watch_confirmations": ("counter", ("result",)),
    "webhook_attempts": ("counter", ("result",)),
    "webhooks_dropped": ("counter", ("reason",)),
    "mqtt_connected": ("gauge", ()),
    "mqtt_visitors": ("gauge", ()),
    "mqtt_failures": ("counter", ("reason",)),
    "mqtt_sent": ("counter", ()),
    "mqtt_dropped": ("counter", ("reason",)),
    "webhook_waiting": ("gauge", ()),
    "webhook_dead_letters": ("gauge", ()),
    "auth_failures": ("counter", ("reason",)),
    "frame_age_seconds": ("histogram", ()),
    "frame_wait_seconds": ("histogram", ()),
    "frame_prepare_seconds": ("histogram", ()),
    "queue_wait_seconds": ("histogram", ("kind",)),
    "first_token_seconds": ("histogram", ("role",)),
    "inference_seconds": ("histogram", ("kind",)),
    # Beyond the contract: how full and how well the process is.
    "ready": ("gauge", ()),
    "limit": ("gauge", ("of",)),
    "inferences_running": ("gauge", ()),
    "loop_lag_seconds": ("histogram", ()),
    "speech_by_page": ("counter", ()),
    "speech_dropped_seconds": ("counter", ()),
    "speech_failures": ("counter", ("code",)),
    "speech_first_chunk_seconds": ("histogram", ()),
    "speech_stopped": ("counter", ("reason",)),
    "turn_checks": ("counter", ("result",)),
    "turn_model": ("gauge", ("state",)),
    "process_virtual_memory_bytes": ("gauge", ()),
    "process_resident_memory_bytes": ("gauge", ()),
    "process_start_time_seconds": ("gauge", ()),
    "process_cpu_seconds": ("counter", ()),
    "process_open_fds": ("gauge", ()),
    "process_max_fds": ("gauge", ()),
}
# Allowed values of each label.
ALLOWED: dict[str, set[str]] = {
    "by": {"stop", "operator"},
    "state": {
        *("starting", "live", "stalled", "frozen", "ended", "working", "failing"),
        *("connecting", "waiting", "open", "full", "draining"),
        *("ready", "loading", "unreachable", "busy", "misconfigured"),
    },
    "kind": {"chat", "watch", "program", "describe", "prefill", "video", "sound"},
    "engine": {"vllm", "local", "builtin", "watches", "reads"},
    "role": {"answers", "watches", "reads"},
    "reason": {
        *("decode_error", "backlog", "broken", "no_key", "cancelled", "withheld", "user"),
        *("replaced", "preempted", "socket_closed", "session_ended", "draining", "format"),
        *("missing", "malformed", "bad_signature", "expired", "wrong_session", "bad_code"),
        *("metrics", "operator", "origin", "rate", "program", "other"),
        *("refused", "failed", "busy", "loading", "devices"),
        *("stranger", "stun", "addresses", "size", "waiting", "streams", "unwritten"),
    },
    "result": {
        *("ok", "length", "cancelled", "replaced", "error", "dropped"),
        *("kept", "shown", "full", "large", "clamped"),
        *("done", "refused", "malformed", "unknown", "asked"),
    },
    "what": {
        *("made", "used", "looked", "failed", "ended", "expired", "unseen", "busy"),
        *("unauthorized", "forbidden", "rate_limited"),
    },
    "direction": {"prompt", "completion"},
    "why": {"same", "first", "view", "scene", "object", "slight", "color", "print"},
    "loop": {
        *("probe", "drain", "expiry", "relays", "redis", "loop_lag"),
        *("standing", "webhook", "webhook links", "mqtt", "mqtt cameras"),
        *("recogniser", "voice", "stills", "models", "model_memory"),
    },
    "of": {"sessions", "queue", "connections", "inferences"},
    "code": {
        *("bad_request", "too_long", "unknown_type", "busy", "rate_limited", "no_camera"),
        *("camera_stalled", "camera_frozen", "frame_withheld", "engine_unavailable"),
        *("engine_loading", "engine_timeout", "engine_refused", "engine_failed", "draining"),
        *("internal", "unauthorized", "forbidden", "upload_refused", "not_found", "conflict"),
        *("too_large", "unsupported_media_type", "unusable_offer", "method_not_allowed"),
        *("page_closed", "ports_exhausted", "not_confirmed"),
        *("speech_unavailable", "speech_timeout", "speech_refused", "speech_failed"),
    },
}
Sample = tuple[str, dict[str, str], float]


async def scrape(run: Running) -> dict[str, tuple[str, list[Sample]]]:
    """Kind and samples of each metric, by its name without the prefix."""
    async with http(run) as client:
        text = (await client.get("/metrics")).text
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("qwen_camera_"), family.name
        name = family.name.removeprefix("qwen_camera_")
        found[name] = (family.type, [(s.name, s.labels, s.value) for s in family.samples])
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used() -> AsyncIterator[Running]:
    """A server on which something of everything has happened; its visitor is still there."""
    async with (
        live_encoder(320, 240) as encoder,
        FakeOpenAI() as fake,
        running(
            engine="auto", vllm_base_url=fake.base_url, rate_limit_per_minute=0, drain_seconds=1
        ) as run,
        http(run) as client,
    ):
        for path in ("/upload", "/nothing-secret-path", "/ws/x"):
            await client.get(path)
        for method in ("GET", "PUT", "SECRETMETHOD"):
            await client.request(method, "/api/token")
        await client.post("/api/token", headers={"Authorization": "Bearer secret-token"})
        await client.post("/api/token", headers={"Origin": "http://secret.example"})
        await client.post("/api/webrtc/offer", json={"sdp": "secret", "type": "offer"})
        async with visitor(run, encoder) as one:
            page = one.page
            await page.ask("secret question?")
            await page.send(type="settings", describe=True, sample_rate=10, prompt="secret prompt")
            await page.next("response", kind="describe")
            await page.send(type="settings", describe=False)
            await page.send(type="secret-type")
            await page.next("error")
            fake.between_tokens = 1.0
            await page.send(type="chat", content="secret?")
            await page.next("delta")
            await page.send(type="cancel")
            await page.next("response", finish_reason="cancelled")
            fake.behaviour = Behaviour.DIES
            fake.between_tokens = 0.0
            await page.ask("secret?")
            yield run


async def test_every_name_of_the_contract(used: Running) -> None:
    """Names, kinds and labels are those of the contract, and there are no others."""
    found = await scrape(used)
    # prometheus_client adds when each counter and histogram began.
    names = {name for name in found if not name.endswith("_created")}
    assert names == CONTRACT.keys()
    for name, (kind, labels) in CONTRACT.items():
        assert found[name][0] == kind, name
        for _, given, _ in found[name][1]:
            assert given.keys() - {"le"} == set(labels), name


async def test_labels_are_bounded(used: Running) -> None:
    """No label says anything but what its set allows, whatever a client sends."""
    for name, (_, samples) in (await scrape(used)).items():
        for _, labels, _ in samples:
            for label, value in labels.items():
                if label not in ("le", "version"):
                    assert value in ALLOWED[label], (name, label, value)
            assert "secret" not in str(labels).lower()


async def test_what_happened_was_counted(used: Running) -> None:
    """Each thing that the visit did is found in its metric."""
    values = {
        (name, *labels.values()): value
        for _, samples in (await scrape(used)).values()
        for name, labels, value in samples
        if "le" not in labels
    }

    def value(name: str, *labels: str) -> float:
        return values[(f"qwen_camera_{name}", *labels)]

    assert value("sessions") == value("sockets") == 1
    assert value("cameras", "live") == value("ready") == 1
    assert value("limit", "sessions") == 100
    assert value("inferences_running") == 0
    assert value("process_resident_memory_bytes") > 2**20
    assert value("engine_up", "vllm") == value("engine_up", "builtin") == 1
    assert value("inferences_total", "chat", "ok") == 1
    assert value("inferences_total", "chat", "cancelled") == 1
    assert value("inferences_total", "chat", "error") == 1
    assert value("inferences_total", "describe", "ok") >= 1
    assert value("cancellations_total", "user") >= 1
    assert value("tokens_total", "prompt") >= 1280
    assert value("tokens_total", "completion") >= 8
    assert value("visual_tokens_total") > 0
    assert value("errors_total", "unknown_type") == 1
    assert value("errors_total", "engine_failed") == 1
    assert value("errors_total", "upload_refused") == 1
    assert value("errors_total", "unusable_offer") == 1
    assert value("auth_failures_total", "origin") == 1
    assert value("auth_failures_total", "malformed") == 1
    assert value("frames_received_total") >= value("frames_sampled_total") > 0
    for name in ("frame_age", "frame_wait", "frame_prepare"):
        assert value(f"{name}_seconds_count") >= 1
    assert value("first_token_seconds_count", "answers") >= 1
    assert value("queue_wait_seconds_count", "chat") == 3
    assert value("inference_seconds_count", "chat") == 1


async def test_gauges_follow(used: Running) -> None:
    """A gauge is read when somebody asks: a session that ends is gone at once."""
    before = (await scrape(used))["sessions"][1][0][2]
    issued = await take_token(used)
    used.program.sessions.open(issued["session_id"])
    assert (await scrape(used))["sessions"][1][0][2] == before + 1
    await used.program.sessions.end(issued["session_id"], "over")
    assert (await scrape(used))["sessions"][1][0][2] == before
