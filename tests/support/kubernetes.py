"""deploy/kubernetes, read: overlays put together as kustomize does, and nginx's file for it.

`python -m tests.support.kubernetes` writes that file anew from deploy/nginx.conf.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import yaml

from tests.support.nginx import Changes

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
TEMPLATE = KUBERNETES / "base" / "qwen-camera.conf.template"
Manifest = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Lists that are merged by a key of their items, as Kubernetes' own schemas say.
_KEYS = {"containers": "name", "env": "name", "ports": "containerPort", "volumes": "name"}
_MAIN = """\
# Names of pods and services, asked for anew every five seconds.
resolver ${NGINX_LOCAL_RESOLVERS} valid=5s ipv6=off;
resolver_timeout 2s;
# Any gateway that is ready answers whoever has no session yet.
map "" $qwen_camera_any {
    default gateway-any.qwen-camera.svc.cluster.local:8000;
}
# A name that is no gateway's goes to any, too.
map $qwen_camera_name $qwen_camera_process {
    default gateway-any.qwen-camera.svc.cluster.local:8000;
    "~^g(?<qwen_camera_number>[0-9]{1,4})$" gateway-$qwen_camera_number.gateway.qwen-camera.svc.cluster.local:8000;
}
"""
_ELSEWHERE = """\
    # The gateway of a session is gone: another one says so, and the page begins anew there.
    location @elsewhere {
        if ($qwen_camera_name = "") {
            return 503;
        }
        proxy_read_timeout 90s;
        proxy_send_timeout 90s;
        proxy_pass http://$qwen_camera_any;
        error_page 500 502 503 504 =503 @unavailable;
    }
"""


def nginx_template() -> str:
    """deploy/nginx.conf for pods: names in place of addresses, ports that need no rights.

    Raises AssertionError when what is changed is not there any more.
    """
    file = Changes("nginx.conf")
    _, rest = file.text.split("# All processes:")
    _, rest = rest.split("map $qwen_camera_name $qwen_camera_process {")
    _, rest = rest.split("}\n", 1)
    file.text = (
        "# deploy/nginx.conf for Kubernetes, written by: python -m tests.support.kubernetes\n"
        "# The image fills in NGINX_LOCAL_RESOLVERS, and nothing else.\n\n" + _MAIN + rest
    )
    file.change("    listen 80;\n    listen [::]:80;\n", "    listen 8080;\n")
    file.change(
        "    listen 443 ssl http2;\n    listen [::]:443 ssl http2;\n",
        "    listen 8443 ssl http2;\n",
    )
    sni = file.text.index("    # With TURN on the same port")
    file.text = file.text[:sni] + file.text[file.text.index("    server_name", sni) :]
    file.change("server_name camera.example.org;", "server_name _;", times=2)
    acme = file.text.index("    # certbot certonly")
    file.text = file.text[:acme] + file.text[file.text.index("    location / {", acme) :]
    for kind, name in (("certificate", "crt"), ("certificate_key", "key")):
        old = "fullchain" if name == "crt" else "privkey"
        file.change(
            f"ssl_{kind} /etc/letsencrypt/live/camera.example.org/{old}.pem;",
            f"ssl_{kind} /etc/nginx/tls/tls.{name};",
        )
    file.change("/var/log/nginx/qwen-camera.access.log", "/dev/stdout", times=2)
    file.change("proxy_pass http://qwen_camera;", "proxy_pass http://$qwen_camera_any;")
    file.change(
        "    error_page 500 502 504 =503 @unavailable;\n",
        "    error_page 500 =503 @unavailable;\n    error_page 502 504 = @elsewhere;\n"
        "    recursive_error_pages on;\n",
    )
    file.change("    location @upload_refused {", _ELSEWHERE + "    location @upload_refused {")
    return file.text


def documents(path: Path) -> list[Manifest]:
    """All manifests of a file."""
    return [one for one in every(path.read_text(encoding="utf-8")) if one]


def every(text: str) -> list[Any]:
    """All documents of a YAML text, by libyaml where it is there: ten times as fast."""
    return list(yaml.load_all(text, Loader=_LOADER))


def rendered(folder: Path) -> list[Manifest]:
    """The manifests of a kustomization, as far as ours go: resources, components, generated
    ConfigMaps (without the suffix of their content), images, patches, the namespace.
    """
    return _render(folder, [])


def _render(folder: Path, given: list[Manifest]) -> list[Manifest]:
    (read,) = every((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    known = {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images"}
    assert read.keys() <= known | {"configMapGenerator"}, folder
    found = list(given)
    for name in read.get("resources", ()):
        path = folder / name
        found += _render(path.resolve(), []) if path.is_dir() else documents(path)
    for one in read.get("configMapGenerator", ()):
        data: dict[str, str] = {}
        for env in one.get("envs", ()):
            lines = (folder / env).read_text(encoding="utf-8").splitlines()
            data |= dict(line.split("=", 1) for line in lines if line and line[0] != "#")
        data |= {name: (folder / name).read_text(encoding="utf-8") for name in one.get("files", ())}
        found.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": one["name"]},
                "data": data,
            }
        )
    for name in read.get("components", ()):
        found = _render((folder / name).resolve(), found)
    for patch in read.get("patches", ()):
        for change in documents(folder / patch["path"]):
            target = next(one for one in found if identity(one) == identity(change))
            found[found.index(target)] = cast(Manifest, merged(target, change))
    for image in read.get("images", ()):
        for container in containers(found):
            if container["image"] == image["name"]:
                digest = f"@{image['digest']}" if "digest" in image else ""
                container["image"] = f"{image['newName']}:{image['newTag']}{digest}"
    if namespace := read.get("namespace"):
        for one in found:
            if one["kind"] != "Namespace":
                one["metadata"]["namespace"] = namespace
    return found


def identity(manifest: Manifest) -> tuple[str, str]:
    """Kind and name."""
    return manifest["kind"], manifest["metadata"]["name"]


def merged(old: Any, new: Any, key: str = "") -> Any:
    """A strategic merge, for the lists in `_KEYS`; other lists are replaced."""
    if isinstance(old, dict) and isinstance(new, dict):
        result = copy.deepcopy(old)
        for name, value in new.items():
            result[name] = merged(result[name], value, name) if name in result else value
        return result
    if isinstance(old, list) and isinstance(new, list) and key in _KEYS:
        by = _KEYS[key]
        result = {one[by]: copy.deepcopy(one) for one in old}
        for one in new:
            result[one[by]] = merged(result[one[by]], one) if one[by] in result else one
        return list(result.values())
    return copy.deepcopy(new)


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod's specification of each workload, by the workload's name."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in manifests
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    }


def containers(manifests: list[Manifest]) -> list[Manifest]:
    """Every container of every workload."""
    return [one for spec in pods(manifests).values() for one in spec["containers"]]


if __name__ == "__main__":
    TEMPLATE.write_text(nginx_template(), encoding="utf-8")
