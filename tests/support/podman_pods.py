"""Pods of deploy/kubernetes, played by podman (`podman kube play`) with this machine's own programs.

An image is empty: the system's and the project's folders are mounted into it read-only, since nothing
is fetched. Pods share this machine's network.
"""

from __future__ import annotations

import copy
import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.kubernetes import Manifest

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/qwen-camera-empty:1"
# crun takes no cgroups of both versions side by side, and podman asks for more open files than a
# machine without that right may give.
CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
{runtime}
"""


class Podman:
    """podman with its images, containers and settings in `folder`."""

    def __init__(self, folder: Path) -> None:
        runtime = 'runtime = "runc"' if shutil.which("runc") else ""
        (folder / "containers.conf").write_text(CONF.format(runtime=runtime))
        self.folder = folder
        self._environment = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}

    def run(self, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """One command; a minute at most."""
        own = ("--root", str(self.folder / "store"), "--runroot", str(self.folder / "run"))
        return subprocess.run(
            ["podman", *own, "--storage-driver", "vfs", *words],
            input=stdin,
            env=self._environment,
            capture_output=True,
            timeout=60,
        )

    def why_not(self) -> str:
        """Make the image; the reason why no pod runs here, or ""."""
        made = self.run("import", "-", IMAGE, stdin=_empty())
        if made.returncode:
            return f"podman takes no image: {_last(made)}"
        pod = {"image": IMAGE, "command": ["/usr/bin/true"], "name": "try"}
        with self._file({"containers": [pod], "hostNetwork": True}, "try") as path:
            done = self.run("kube", "play", str(path))
            self.run("kube", "play", "--down", str(path))
        return f"podman plays no pod: {_last(done)}" if done.returncode else ""

    @contextmanager
    def playing(
        self, name: str, spec: Manifest, environment: Mapping[str, str], *folders: Path
    ) -> Iterator[None]:
        """A pod as its manifest has it, but for image, network and this machine's folders.

        `environment`: goes before what the container has; `folders`: mounted besides.
        """
        with self._file(spec, name, environment, *folders) as path:
            try:
                done = self.run("kube", "play", str(path))
                assert done.returncode == 0, done.stderr.decode()
                yield
            finally:
                self.run("kube", "play", "--down", str(path))

    def log(self, name: str, container: str) -> str:
        """The text that it printed."""
        done = self.run("logs", f"{name}-{container}")
        return (done.stdout + done.stderr).decode(errors="replace")

    @contextmanager
    def _file(
        self,
        spec: Manifest,
        name: str,
        environment: Mapping[str, str] | None = None,
        *folders: Path,
    ) -> Iterator[Path]:
        pod = copy.deepcopy(spec)
        pod["hostNetwork"] = True
        # Beyond podman's kinds of volumes, and what there is no scheduler for
        volumes = [one for one in pod.get("volumes", ()) if "emptyDir" in one]
        kept = {one["name"] for one in volumes}
        for one in volumes:
            one["emptyDir"] = {}
        mounts = []
        for number, place in enumerate([*_system(), *folders]):
            volumes.append({"name": f"host{number}", "hostPath": {"path": str(place)}})
            mounts.append({"name": f"host{number}", "mountPath": str(place), "readOnly": True})
        for container in pod["containers"]:
            container["image"], container["imagePullPolicy"] = IMAGE, "Never"
            container["workingDir"] = str(ROOT)
            own = {one["name"]: one for one in container.get("env", ()) if "value" in one}
            own |= {key: {"name": key, "value": text} for key, text in (environment or {}).items()}
            container["env"] = list(own.values())
            container.pop("envFrom", None)
            container.pop("ports", None)
            container.pop("resources", None)
            mounted = [one for one in container.get("volumeMounts", ()) if one["name"] in kept]
            container["volumeMounts"] = mounted + mounts
        pod["volumes"] = volumes
        for key in ("topologySpreadConstraints", "tolerations"):
            pod.pop(key, None)
        path = self.folder / f"{name}.yaml"
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
        path.write_text(yaml.safe_dump(whole))
        yield path


@functools.cache
def _system() -> tuple[Path, ...]:
    """Folders that programs of this machine and the project are in."""
    python = Path(sys.base_prefix).resolve()
    found = [Path("/usr"), ROOT, Path(sys.prefix), Path(sys.prefix).resolve(), python]
    found += [(ROOT / ".venv-router").resolve()]
    outside = [one for one in dict.fromkeys(found) if one.is_dir()]
    return tuple(
        one
        for one in outside
        if not any(one != other and other in one.parents for other in outside)
    )


def _empty() -> bytes:
    """A root file system of folders, and of the links that /usr has had beside it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name in ("tmp", "proc", "sys", "dev", "etc", "run", "usr"):
            entry = tarfile.TarInfo(name)
            # A volume there begins with its rights; Kubernetes' own are open to every user.
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name in ("bin", "lib", "lib64", "sbin"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
    return raw.getvalue()


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else f"status {done.returncode}"
