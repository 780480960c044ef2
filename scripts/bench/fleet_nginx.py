"""An nginx before the gateways of a measurement, with the maps of deploy/nginx.conf, over plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from scripts.bench.fleet_hosts import Host, killed
from scripts.bench.processes import ROOT, MeasurementError, free_port

# A server block's lines of deploy/nginx.conf; see there.
_SERVER = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $qwen_camera_upgrade;
    proxy_set_header Connection $qwen_camera_connection;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_buffering off;
    proxy_connect_timeout 2s;
    proxy_read_timeout 90s;
    proxy_next_upstream error timeout;
    proxy_next_upstream_timeout 5s;
    location / { proxy_pass http://$qwen_camera_process; }
    location = /api/token {
        proxy_next_upstream error timeout http_503 non_idempotent;
        proxy_pass http://$qwen_camera_process;
    }
"""


def configuration(folder: Path, listen: str, gateways: Mapping[str, str]) -> str:
    """Build nginx's whole file. `listen`: its address and port; `gateways`: those of each name."""
    shipped = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    begins, ends = shipped.index("# All processes:"), shipped.index("map $content_type ")
    maps = shipped[begins:ends]
    one = "    server 127.0.0.1:8000 max_fails=0;\n"
    default = "    default qwen_camera;\n"
    if maps.count(one) != 1 or maps.count(default) != 1:
        raise MeasurementError("deploy/nginx.conf was changed: its example is not there any more")
    every = {name: f"    server {address} max_fails=0" for name, address in gateways.items()}
    maps = maps.replace(one, "".join(f"{line};\n" for line in every.values()))
    maps = maps.replace(
        default, default + "".join(f"    {name} qwen_camera_{name};\n" for name in gateways)
    )
    blocks = "".join(
        f"upstream qwen_camera_{own} {{\n{every[own]};\n"
        + "".join(f"{line} backup;\n" for name, line in every.items() if name != own)
        + "}\n"
        for own in gateways
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"pid {folder}/nginx.pid;\nerror_log /dev/null;\nworker_processes 1;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\naccess_log off;\n{temporary}{blocks}{maps}\n"
        f"server {{\n    listen {listen};\n{_SERVER}}}\n}}\n"
    )


class Nginx:
    """The process, on a free port. Use as a context manager."""

    def __init__(self, host: Host, gateways: Mapping[str, str]) -> None:
        self._host, self._port = host, free_port()
        self._listen = f"{host.address}:{self._port}"
        self.url = f"http://{self._listen}"
        self._gateways = gateways
        self._open = contextlib.ExitStack()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Raises MeasurementError where there is no nginx."""
        if shutil.which("nginx") is None:
            raise MeasurementError("nginx is not installed: --fleet needs it (apt install nginx)")
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "nginx.conf"
        path.write_text(configuration(folder, self._listen, self._gateways))
        program = ("nginx", "-c", str(path), "-p", str(folder), "-g", "daemon off;")
        try:
            self._process = await self._host.start(program, self._port)
        except MeasurementError as error:
            raise MeasurementError(f"{error}: `nginx -t` finds the reason") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                await killed(self._process)
        self._open.close()
