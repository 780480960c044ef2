"""deploy/nginx.conf in a real nginx: what it refuses, forwards, balances, and writes down."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from server.auth import new_session_id
from server.features.cluster.replicas import make_session_id
from server.web.middleware import HSTS, MAX_BODY_BYTES
from tests.support.answering import answering
from tests.support.clients import soon
from tests.support.fakes_server import free_port, free_ports
from tests.support.nginx import (
    DEPLOY,
    NAME,
    STREAM_MODULE,
    Changes,
    Nginx,
    Scene,
    balanced,
    check,
    configuration,
    local,
    make_certificate,
    nginx,
    require_nginx,
    sharing,
    write,
)
from tests.web.test_routes import make_offer

OFFER = "/api/webrtc/offer"
CANARY = "canarytoken-Zq77"
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """nginx and two processes."""
    async with balanced(tmp_path_factory.mktemp("nginx"), {"MAX_SESSIONS": "1000"}) as scene:
        yield scene


def client(front: Nginx, local: str = "127.0.0.1") -> httpx.AsyncClient:
    """Of one connection, so that requests stand in the log in their order.

    `local`: the address it comes from.
    """
    transport = httpx.AsyncHTTPTransport(
        verify=front.tls(), local_address=local, limits=httpx.Limits(max_connections=1)
    )
    return httpx.AsyncClient(base_url=front.url, transport=transport, timeout=10)


async def socket(front: Nginx, session_id: str, token: str) -> ClientConnection:
    return await connect(
        f"wss://127.0.0.1:{front.port}/ws/{session_id}",
        ssl=front.tls(),
        subprotocols=[Subprotocol("qwen-camera"), Subprotocol(f"bearer.{token}")],
        compression=None,
        proxy=None,
    )


# The file


async def test_nginx_takes_the_file(tmp_path: Path) -> None:
    """`nginx -t` finds nothing wrong or doubtful: one process, several, and sharing its port with
    TURN.
    """
    require_nginx()
    make_certificate(tmp_path)
    for processes in ([8000], [8010, 8011, 8012]):
        said = check(write(tmp_path, configuration(tmp_path, 8443, processes, plain=8080)))
        assert "[warn]" not in said
    if not STREAM_MODULE.exists():
        pytest.skip("nginx's stream module is missing; scripts/test.sh installs it.")
    http = configuration(tmp_path, 8443, [8000], plain=8080, behind=8445)
    said = check(write(tmp_path, http, sharing(8443, 8444, 8445, 5349)))
    assert "[warn]" not in said


async def test_the_example_of_several_processes(tmp_path: Path) -> None:
    """With its comments taken away it is right: each process has a block, where it comes first and
    all others help out.
    """
    require_nginx()
    make_certificate(tmp_path)
    text = (DEPLOY / "nginx.conf").read_text()
    head, map_and_rest = text.split("# Several: a line for each PROCESS_NAME")
    one = "    server 127.0.0.1:8000 max_fails=0;\n"
    assert head.count(one) == 1
    example = re.sub(
        r"^(    |)#(?=    server|server|upstream|\})", r"\1", head.replace(one, ""), flags=re.M
    )
    lines = re.findall(r"^    #(\w+) (qwen_camera_\w+);$", map_and_rest, re.MULTILINE)
    blocks = {
        name: re.findall(r"server 127\.0\.0\.1:(\d+) max_fails=0( backup)?;", body)
        for name, body in re.findall(r"^upstream (\w+) \{\n(.*?)^\}", example, re.M | re.S)
    }
    everyone = [port for port, _ in blocks.pop("qwen_camera")]
    # 8001 is vLLM's.
    assert len(everyone) == 2
    assert "8001" not in everyone
    assert lines == [(port, f"qwen_camera_{port}") for port in everyone]
    assert blocks == {
        f"qwen_camera_{own}": [(own, ""), *((port, " backup") for port in everyone if port != own)]
        for own in everyone
    }
    several = Changes("nginx.conf")
    several.text = example + "# Several: a line for each PROCESS_NAME" + map_and_rest
    for port, name in lines:
        several.change(f"    #{port} {name};", f"    {port} {name};")
    written = write(tmp_path, local(several, tmp_path, 8443, plain=8080))
    assert "[warn]" not in check(written)


async def test_both_files_have_the_same_port_behind() -> None:
    """nginx-turn-sni.conf sends the page's connections where nginx.conf, so changed, listens."""
    text = (DEPLOY / "nginx.conf").read_text()
    sni = (DEPLOY / "nginx-turn-sni.conf").read_text()
    assert "default          127.0.0.1:8443;" in sni
    assert "#listen 127.0.0.1:8443 ssl http2 proxy_protocol;" in text


# One nginx


async def test_a_session_is_looked_for_in_its_own_process_first(tmp_path: Path) -> None:
    """Sessions of five processes, by ?session=, by the socket's path and by a program's: their own
    process first, then all others.
    """
    ports = sorted(free_ports(5))
    homes = [str(port) for port in ports * 4]
    async with nginx(tmp_path, ports) as front, client(front) as http:
        for number, home in enumerate(homes):
            one = make_session_id(home)
            # The path counts for a socket and a program, whatever else is asked for.
            other = make_session_id(homes[number - 1])
            path = (
                f"/health?session={one}",
                f"/ws/{one}?session={other}",
                f"/at/{one}/v1/models?session={other}",
                f"/at/{one}/evidence/word",
            )[number % 4]
            reply = await http.get(path)
            # None of them runs.
            assert reply.status_code == 503
        await front.line(len(homes) - 1)
        assert reply.json()["error"]["retryable"] is True
        assert reply.headers["retry-after"] == "2"
        assert reply.headers["strict-transport-security"] == HSTS
        tried = [line["process"].split(", ") for line in front.requests]
    assert [first for first, *_ in tried] == [f"127.0.0.1:{home}" for home in homes]
    assert {len(set(all_of_them)) for all_of_them in tried} == {5}


async def test_a_forged_name_reaches_no_other_address(tmp_path: Path) -> None:
    """Names that are not listed, and ids that are none, go to one of the processes; nothing else
    hears of them.
    """
    stranger, *ports = free_ports(3)
    there = {f"127.0.0.1:{port}" for port in ports}
    tail = "a" * 22
    forged = [
        *(f"{stranger}-{tail}", f"qwen_camera_{ports[0]}-{tail}", f"127.0.0.1:{stranger}-{tail}"),
        *(f"127.0.0.1:{stranger}", f"{ports[0]}", f"{ports[0]}-short", f"{ports[0]}-{tail}a"),
        *(f"{ports[0]}-{tail}%0a", f"%0a{ports[0]}-{tail}", f"x%3F{stranger}-{tail}", "-" * 23),
        *(f"default-{tail}", f"upstream-{tail}", f"{'9' * 17}-{tail}", f"$uri-{tail}"),
    ]
    async with (
        answering(port=stranger) as other,
        nginx(tmp_path, ports) as front,
        client(front) as http,
    ):
        for one in forged:
            for path in (f"/ws/{one}", f"/at/{one}/v1/models", f"/health?session={one}"):
                assert (await http.get(path)).status_code == 503, path
        await front.line(3 * len(forged) - 1)
        tried = [set(line["process"].split(", ")) for line in front.requests]
    assert other.heads == []
    assert all(processes == there for processes in tried)


async def test_a_gateway_of_several_hosts(tmp_path: Path) -> None:
    """A name of two parts, the host's and the process's, leads to its own block, by path and by
    query; half of it does not.
    """
    dead = free_port()
    async with answering() as (_, port, heads):
        named = (f"    {dead} qwen_camera_{dead};\n", f"    h1_{dead} qwen_camera_{dead};\n")
        async with nginx(tmp_path, [port, dead], changes=[named]) as front, client(front) as http:
            one = make_session_id(f"h1_{dead}")
            for path in (f"/ws/{one}", f"/at/{one}/mcp", f"/health?session={one}"):
                assert (await http.get(path)).status_code == 200
            # The dead one was asked first, and the other one answered for it.
            await front.line(2)
            own, other = f"127.0.0.1:{dead}", f"127.0.0.1:{port}"
            assert [line["process"] for line in front.requests] == [f"{own}, {other}"] * 3
    assert len(heads) == 3


async def test_a_gateway_by_hash(tmp_path: Path) -> None:
    """nginx-hash.conf: all requests of a session meet at one gateway, by path and by query; sessions
    spread; another gateway takes those of one that is gone.
    """
    ids = [new_session_id() for _ in range(30)]
    async with (
        answering() as (_, one, _),
        answering() as (_, two, _),
        nginx(tmp_path, [one, two], by_hash=True) as front,
        client(front) as http,
    ):
        assert "[warn]" not in check(tmp_path / "nginx.conf")
        for id in ids:
            for path in (
                f"/ws/{id}?page=x",
                f"/api/webrtc/offer?session={id}",
                f"/at/{id}/v1/models",
            ):
                assert (await http.get(path)).status_code == 200
        await front.line(3 * len(ids) - 1)
        met = [line["process"] for line in front.requests]
        assert met[::3] == met[1::3] == met[2::3]
        assert set(met) == {f"127.0.0.1:{one}", f"127.0.0.1:{two}"}
    (folder := tmp_path / "gone").mkdir()
    async with (
        answering() as (_, left, heads),
        nginx(folder, [left, free_port()], by_hash=True) as front,
        client(front) as http,
    ):
        for id in ids:
            assert (await http.get(f"/ws/{id}")).status_code == 200
    assert len(heads) == len(ids)


async def test_what_is_forwarded(tmp_path: Path) -> None:
    """The real peer's address and nothing that a client wrote of it; the host with its port."""
    forged = {
        "X-Forwarded-For": "198.51.100.1",
        "Forwarded": "for=198.51.100.1",
        "X-Forwarded-Proto": "http",
        "Upgrade": "h2c",
    }
    async with (
        answering() as (_, port, heads),
        nginx(tmp_path, [port]) as front,
        client(front, "127.0.0.3") as http,
    ):
        assert (await http.get("/health", headers=forged)).status_code == 200
    (head,) = heads
    fields = [line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line]
    found = {name: [v for n, v in fields if n == name] for name, _ in fields}
    assert found["x-forwarded-for"] == ["127.0.0.3"]
    assert found["x-forwarded-proto"] == ["https"]
    assert found["host"] == [f"127.0.0.1:{front.port}"]
    assert found["connection"] == ["close"]
    assert not {"forwarded", "upgrade"} & found.keys()


async def test_443_is_shared_with_turn_by_name(tmp_path: Path) -> None:
    """TURN's name goes to TURN unopened, every other to the page, with the real peer's address."""
    require_nginx()
    if not STREAM_MODULE.exists():
        pytest.skip("nginx's stream module is missing; scripts/test.sh installs it.")
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def turn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first.set_result(await reader.read(1))
        writer.close()

    relay = await asyncio.start_server(turn, "127.0.0.1", 0)
    relay_port = relay.sockets[0].getsockname()[1]
    async with (
        relay,
        answering() as (_, port, heads),
        nginx(tmp_path, [port], turn=relay_port) as front,
    ):
        async with client(front, "127.0.0.3") as http:
            reply = await http.get("/", extensions={"sni_hostname": NAME})
            assert reply.status_code == 200
        with pytest.raises((OSError, EOFError)):
            await asyncio.open_connection(
                "127.0.0.1", front.port, ssl=front.tls(), server_hostname="turn.example.org"
            )
        # A TLS handshake's first byte: nobody opened it on the way.
        assert await asyncio.wait_for(first, 5) == b"\x16"
        assert (await front.line())["address"] == "127.0.0.3"
    assert "X-Forwarded-For: 127.0.0.3\r\n" in heads[0]


async def test_an_ipv6_network_counts_as_one_address(tmp_path: Path) -> None:
    """Its /64 has one share of the connections, as in the processes; the next network has one of
    its own, and so has IPv4.
    """
    asked: asyncio.Queue[None] = asyncio.Queue()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.put_nowait(None)
        await reader.read()
        writer.close()

    # Addresses are named here, since loopback has one of IPv6 alone.
    told = "set_real_ip_from 127.0.0.1; real_ip_header X-Told; limit_conn qwen_camera 2;"
    behind = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with (
        behind,
        nginx(
            tmp_path,
            [behind.sockets[0].getsockname()[1]],
            changes=[("limit_conn qwen_camera 250;", told)],
        ) as front,
        httpx.AsyncClient(base_url=front.url, verify=front.tls(), timeout=10) as http,
    ):

        def ask(address: str) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(http.get("/", headers={"X-Told": address}))

        held = []
        for address in ("2001:db8::1", "2001:db8:0:0:ffff::a", "2001:db8:0:1::1", "192.0.2.1"):
            held.append(ask(address))
            await asyncio.wait_for(asked.get(), 10)
        reply = await asyncio.wait_for(ask("2001:db8::2"), 10)
        assert reply.status_code == 503
        held.append(ask("2001:db8:0:1::2"))
        await asyncio.wait_for(asked.get(), 10)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


async def test_certificates_are_renewed_through_it(tmp_path: Path) -> None:
    """The authority's question is answered in the clear from the webroot; everything else there is
    sent to https.
    """
    folder = tmp_path / "acme" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "answer").write_text("proof")
    for path in (tmp_path, *tmp_path.parents):
        # nginx's workers are another user.
        if path.stat().st_mode & 0o005 == 0 and path.name.startswith(("pytest", "popen")):
            path.chmod(0o755)
    tmp_path.chmod(0o755)
    async with nginx(tmp_path, [free_port()]) as front, httpx.AsyncClient() as http:
        plain = f"http://127.0.0.1:{front.plain}"
        reply = await http.get(f"{plain}/.well-known/acme-challenge/answer")
        assert (reply.status_code, reply.text) == (200, "proof")
        other = await http.get(f"{plain}/ws/x?token={CANARY}", headers={"Host": NAME})
        assert (other.status_code, other.headers["location"]) == (
            301,
            f"https://{NAME}/ws/x?token={CANARY}",
        )
        written = front.written
    assert CANARY not in written


# With two processes behind it


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_uploads_are_refused_at_the_edge(scene: Scene, method: str) -> None:
    """The same answer as the process's own, and no process hears of it; spellings that get past lead nowhere."""
    direct = f"{scene.processes[0].url}/upload"
    async with client(scene.nginx) as http, httpx.AsyncClient(trust_env=False) as process:
        own = await process.request(method, direct)
        for path in (
            "/upload",
            "/upload/a.jpg",
            "/UPLOADS/",
            "//upload",
            "/api/upload.cgi",
            "/x/../upload",
            "/%75pload",
        ):
            count = len(scene.nginx.requests)
            reply = await http.request(method, f"{scene.nginx.url}{path}")
            assert (reply.status_code, reply.json()) == (403, own.json()), path
            assert reply.headers["content-type"] == "application/json"
            assert reply.headers["cache-control"] == "no-store"
            line = await scene.nginx.line(count)
            assert (line["process"], line["status"]) == ("", 403)
        count += 1
        twice = await http.request(method, "/%2575pload")
        assert twice.status_code == 404
        assert (await scene.nginx.line(count))["process"] != ""


async def test_bodies_have_the_processes_own_limit(scene: Scene) -> None:
    """128 KiB pass, and are put into no file, which would fail here; a byte more is the process's
    own 413.
    """
    body = b'{"sdp": "' + b"x" * (MAX_BODY_BYTES - 11) + b'"}'
    assert len(body) == MAX_BODY_BYTES
    kind = {"Content-Type": "application/json"}
    count = len(scene.nginx.requests)
    async with client(scene.nginx) as http, httpx.AsyncClient(trust_env=False) as process:
        offer = f"{scene.processes[0].url}{OFFER}"
        for extra, status in ((b"", 400), (b" ", 413)):
            own = await process.post(offer, content=body + extra, headers=kind)
            reply = await http.post(OFFER, content=body + extra, headers=kind)
            assert reply.status_code == own.status_code == status
            assert reply.json() == own.json()
    assert (await scene.nginx.line(count))["process"] != ""
    assert (await scene.nginx.line(count + 1))["process"] == ""


async def test_bodies_without_a_length(scene: Scene) -> None:
    """In chunks they could be put into a file however small: 411, and 403 where something is to be
    uploaded.
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        yield b"}"

    async with client(scene.nginx) as http:
        for path, status in (
            (OFFER, 411),
            ("/ws/x", 411),
            ("/health/ready", 411),
            ("/upload", 403),
            ("/api/uploads", 403),
        ):
            for method in ("GET", "POST"):
                reply = await http.request(method, path, content=pieces())
                assert reply.status_code == status
                assert reply.json()["error"]["retryable"] is False


async def test_headers_come_once(scene: Scene) -> None:
    """Whoever answers, the process or nginx: each of the safety headers stands there exactly once,
    with HSTS.
    """
    async with client(scene.nginx) as http:
        for path in ("/", "/client/client.js", "/health", "/nowhere", "/upload", "/metrics"):
            reply = await http.get(path, headers={"Accept": "text/html"})
            for name in (
                *("content-security-policy", "x-content-type-options", "referrer-policy"),
                *("cache-control", "strict-transport-security", "content-type"),
            ):
                assert len(reply.headers.get_list(name)) == 1, (path, name)
            assert reply.headers["strict-transport-security"] == HSTS
            assert "script-src 'self'" in reply.headers["content-security-policy"] or path in (
                "/upload",
                "/metrics",
            )
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "not_found"


async def test_sessions_live_in_one_process_each(scene: Scene) -> None:
    """40 sessions are where they belong, in both processes; their second socket and their offers
    find them there.
    """
    front = scene.nginx
    before = await scene.sessions()
    sdp = {"sdp": await make_offer("video"), "type": "offer"}
    async with client(front) as http:
        grants = [(await http.post("/api/token")).json() for _ in range(40)]
        ids = [grant["session_id"] for grant in grants]
        sockets = [await socket(front, grant["session_id"], grant["token"]) for grant in grants]
        here = [str(server.port) for server in scene.processes]
        homes = [one.partition("-")[0] for one in ids]
        expected = [n + homes.count(process) for n, process in zip(before, here, strict=True)]
        assert await scene.sessions() == expected
        assert set(homes) == set(here)
        for grant, old in zip(grants, sockets, strict=True):
            new = await socket(front, grant["session_id"], grant["token"])
            await asyncio.wait_for(old.wait_closed(), 5)
            assert old.close_code == 4409
            await new.close()
        for grant in grants[:4]:
            bearer = {"Authorization": f"Bearer {grant['token']}"}
            # A token of any process is good at each, and without ?session= the client is sent to
            # the right one.
            for server in scene.processes:
                async with httpx.AsyncClient(trust_env=False) as process:
                    renewed = await process.post(f"{server.url}/api/token", headers=bearer)
                    assert renewed.status_code == 200
            # The page names its session when it renews: its own process knows it, another would
            # count a newcomer.
            at = f"/api/token?session={grant['session_id']}"
            assert (await http.post(at, headers=bearer)).status_code == 200
            name = grant["session_id"].partition("-")[0]
            home = f'"process":"127.0.0.1:{name}"'
            await soon(lambda home=home: home in last_line(front, "/api/token"))  # type: ignore[misc]
            for query in ("", "", f"?session={grant['session_id']}"):
                reply = await http.post(
                    f"{OFFER}{query}", json=sdp, headers=bearer, follow_redirects=True
                )
                assert reply.status_code == 200
        assert await scene.sessions() == expected
        # Without a token, and so without a session, its socket is where its camera is.
        reply = await http.post(OFFER, json=sdp)
        begun = reply.json()
        last = await socket(front, begun["session_id"], begun["token"])
        status = ""
        while '"camera"' not in status:
            status = str(await asyncio.wait_for(last.recv(), 5))
        await last.close()
        assert sum(await scene.sessions()) == sum(expected) + 1


async def test_a_program_connects_in_its_sessions_process(scene: Scene) -> None:
    """By the session in the path; a refusal keeps its status."""
    front = scene.nginx
    async with client(front) as http:
        for _ in range(4):
            issued = (await http.post("/api/token")).json()
            page = await socket(front, issued["session_id"], issued["token"])
            own = {"Authorization": f"Bearer {issued['token']}"}
            body = {"name": "Robot", "scopes": ["look"], "seconds": 600}
            made = await http.post(
                f"/api/grants?session={issued['session_id']}", json=body, headers=own
            )
            address = f"wss://127.0.0.1:{front.port}{made.json()['openai']}/realtime"
            options: dict[str, Any] = {"ssl": front.tls(), "proxy": None}
            program = {"Authorization": f"Bearer {made.json()['token']}"}
            robot = await connect(address, additional_headers=program, **options)
            assert '"session.created"' in str(await asyncio.wait_for(robot.recv(), 5))
            with pytest.raises(InvalidStatus) as refused:
                await connect(address, additional_headers=own, **options)
            assert refused.value.response.status_code == 401
            await robot.close()
            await page.close()


def last_line(front: Nginx, path: str) -> str:
    """Of nginx's log, about that path."""
    return [line for line in front.written.splitlines() if f'"path":"{path}"' in line][-1]


async def test_a_process_that_stops_is_passed_over_for_tokens_alone(tmp_path: Path) -> None:
    """503 of a draining one: POST /api/token asks the next, an offer brings it to the client, since
    it may have begun.
    """
    async with answering(status=503) as leaving, answering() as (_, port, heads):
        ports = [leaving.port, port]
        async with nginx(tmp_path, ports) as front, client(front) as http:
            there = make_session_id(str(ports[0]))
            for path, status in (("/api/token", 200), (OFFER, 503), ("/api/whip", 503)):
                reply = await http.post(f"{path}?session={there}", json={})
                assert reply.status_code == status, path
    assert len(heads) == 1


# The logs


async def test_no_token_is_written_down(scene: Scene, tmp_path: Path) -> None:
    """Tokens in the query, the subprotocol and headers, with a process, with none, and in requests
    that cannot be read.
    """
    async with nginx(tmp_path, [free_port()]) as empty:
        for front in (scene.nginx, empty):
            protocols = [Subprotocol("qwen-camera"), Subprotocol(f"bearer.{CANARY}")]
            for query in ("", f"?token={CANARY}"):
                # Of the one without a process behind it: a 503.
                with contextlib.suppress(InvalidStatus):
                    async with connect(
                        f"wss://127.0.0.1:{front.port}/ws/canarysession{query}",
                        ssl=front.tls(),
                        subprotocols=protocols,
                        proxy=None,
                    ) as one:
                        await one.wait_closed()
            async with client(front) as http:
                headers = {
                    "Authorization": f"Bearer {CANARY}",
                    "Referer": f"https://{NAME}/?token={CANARY}",
                    "User-Agent": CANARY,
                    "Cookie": CANARY,
                }
                await http.get("/at/canarysession/v1/models", headers=headers)
                await http.get(f"/at/some/evidence/{CANARY}")
                for path in ("/", "/api/token", "/upload", "/health", "/metrics", OFFER):
                    await http.post(f"{path}?token={CANARY}&session={CANARY}", headers=headers)
                    await http.post(
                        f"{path}?token={CANARY}", headers=headers, content=b"x" * 200_000
                    )
            for raw in (
                f"GET /?token={CANARY} HTTP/1.1\r\nHost: a b\r\n\r\n",
                f"GET /?token={CANARY} HTTP/9.1\r\n\r\n",
                f"{CANARY}\r\n\r\n",
                f"GET /{'x' * 9000}?token={CANARY} HTTP/1.1\r\nHost: x\r\n\r\n",
                f"GET /?token={CANARY} HTTP/1.1\r\nHost: x\r\n{CANARY * 900}: 1\r\n\r\n",
            ):
                answer = await say(front, raw.encode())
                assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
                assert b"<html" not in answer
            written = front.written
            assert "/ws/" in written
            assert '"/at/"' in written
            assert "canary" not in written.lower()
    for server in scene.processes:
        assert "canary" not in server.text


async def say(front: Nginx, raw: bytes) -> bytes:
    """Return the answer to these bytes over TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=front.tls())
    writer.write(raw)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except (OSError, ssl.SSLError, TimeoutError):
        return b""
    finally:
        writer.transport.abort()
