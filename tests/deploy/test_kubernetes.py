"""deploy/kubernetes: against Kubernetes' published schemas, and in agreement with the program."""

from __future__ import annotations

import functools
import re

import kubernetes_validate
import pytest
import yaml

from config import get_known_keys, load
from server.features.cluster.settings import ClusterSettings
from server.web.serving import STOP_SECONDS
from tests.deploy.test_containers import compose, filled
from tests.support.kubernetes import (
    KUBERNETES,
    TEMPLATE,
    Manifest,
    containers,
    documents,
    identity,
    nginx_template,
    pods,
    rendered,
)
from tests.support.nginx import SECRET
from tests.support.promql import complaints

OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
# The oldest version that has what the manifests use, and the newest whose schema is at hand.
VERSIONS = ("1.31", "1.37")
# Definitions of others, which the package does not carry (KEDA 2.16, Gateway API 1.2, STUNner 1.1)
FOREIGN = {
    "ScaledObject": "keda.sh/v1alpha1",
    "GatewayClass": "gateway.networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "GatewayConfig": "stunner.l7mp.io/v1",
    "UDPRoute": "stunner.l7mp.io/v1",
}


def everything() -> list[Manifest]:
    """Each overlay's manifests, and those of the components that no overlay has."""
    found = [one for name in OVERLAYS for one in rendered(KUBERNETES / "overlays" / name)]
    extra = (
        "stunner/stunner",
        "autoscaling/gateway",
        "autoscaling/vllm",
        "model/fetch-model",
        "monitoring/role",
    )
    for name in extra:
        found += documents(KUBERNETES / "components" / f"{name}.yaml")
    return found


def settings_of(name: str = "builtin") -> dict[str, str]:
    manifests = rendered(KUBERNETES / "overlays" / name)
    found = next(one for one in manifests if identity(one) == ("ConfigMap", "gateway-settings"))
    data: dict[str, str] = found["data"]
    return data


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_manifest(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds to its schema, and no field is unknown there."""
    # It reads all definitions, a megabyte of JSON, for each manifest.
    read = functools.cache(kubernetes_validate.utils.schema_contents)
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read)
    for one in everything():
        if one["kind"] in FOREIGN:
            assert one["apiVersion"] == FOREIGN[one["kind"]]
        else:
            kubernetes_validate.validate(one, version, strict=True)


def test_every_pod_is_shut_in() -> None:
    """No root, no rights, nothing to write to but memory, no core dump, no access to the cluster."""
    for name, spec in pods(everything()).items():
        assert spec["automountServiceAccountToken"] is False, name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            command = " ".join(container["command"])
            # The gateway does it itself, the router in its script; weights are nobody's pictures.
            assert name in ("gateway", "router", "fetch-model") or command.startswith(
                "sh -c ulimit -c 0;"
            )
            if name != "fetch-model":
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    assert probe in container, (name, probe)
        for volume in spec.get("volumes", ()):
            assert not volume.keys() & {"hostPath", "nfs"}, name


def test_no_secret_is_in_it() -> None:
    """Secrets are named, and made by the operator; no image is the latest of its name."""
    assert not [one for one in everything() if one["kind"] == "Secret"]
    for container in containers(everything()):
        assert re.fullmatch(r"[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?", container["image"]), (
            container["image"]
        )
        assert not container["image"].endswith(":latest")
    for name in settings_of():
        assert not re.search("SECRET|PASSWORD|API_KEY|ACCESS_CODE|TOKEN", name), name


def test_the_settings_hold() -> None:
    """They are the program's own, valid together, and agree with ports and times of the pods."""
    given = settings_of()
    assert set(given) <= set(get_known_keys())
    spec = pods(rendered(KUBERNETES / "overlays" / "cuda"))["gateway"]
    container = spec["containers"][0]
    env = {one["name"]: one.get("value", "") for one in container["env"]}
    settings = load(
        env_file=None,
        **{name.lower(): value for name, value in given.items()},
        jwt_secret_key=SECRET,
        access_code="a-code-of-an-operator",
        gateway_name=env["GATEWAY_NAME"].replace("$(POD_INDEX)", "12"),
        udp_port_range=env["UDP_PORT_RANGE"],
    )
    assert ClusterSettings.of(settings).gateway_name == "g12"
    assert not settings.warnings
    ports = container["ports"]
    assert [one["containerPort"] for one in ports if one.get("name") == "http"] == [settings.port]
    low, high = settings.udp_port_range or (0, 0)
    media = [one for one in ports if one.get("protocol") == "UDP"]
    assert [one["containerPort"] for one in media] == list(range(low, high + 1))
    assert [one["hostPort"] for one in media] == list(range(low, high + 1))
    sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = spec["terminationGracePeriodSeconds"]
    assert sleep + settings.drain_seconds + STOP_SECONDS <= grace


def test_names_lead_to_services() -> None:
    """The settings, nginx and the router ask for services that are here, with these ports."""
    manifests = rendered(KUBERNETES / "overlays" / "cuda")
    services = {
        one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]}
        for one in manifests
        if one["kind"] == "Service"
    }
    given = settings_of("cuda")
    for setting in ("VLLM_BASE_URL", "REDIS_URL"):
        found = re.match(r"\w+://([\w-]+):(\d+)/", given[setting])
        assert found is not None
        assert int(found[2]) in services[found[1]], setting
    router = next(one for one in containers(manifests) if one["name"] == "router")
    workers = next(one["value"] for one in router["env"] if one["name"] == "ROUTER_WORKERS")
    scaled = documents(KUBERNETES / "components/autoscaling/vllm.yaml")[0]["spec"]
    assert workers.split() == [
        f"http://vllm-{n}.vllm:8001" for n in range(scaled["maxReplicaCount"])
    ]
    assert services["vllm"] == {8001}
    for name in re.findall(
        r"([\w-]+)\.qwen-camera\.svc\.cluster\.local:8000", TEMPLATE.read_text()
    ):
        assert 8000 in services[name], name
    # Pods find each other by names that the selectors have.
    labels = {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for one in manifests
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    for one in manifests:
        if one["kind"] == "Service":
            assert one["spec"]["selector"]["app.kubernetes.io/name"] in labels
        if one["kind"] == "NetworkPolicy":
            asked = re.findall(r"'app\.kubernetes\.io/name': '([\w-]+)'", str(one["spec"]))
            assert set(asked) <= labels, one["metadata"]["name"]


def test_nobody_gets_in_by_default() -> None:
    """A policy shuts every pod; only nginx faces the world, and only gateways reach the router."""
    manifests = rendered(KUBERNETES / "overlays" / "cuda")
    policies = {
        one["metadata"]["name"]: one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"
    }
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, allowed in (("router", "gateway"), ("redis", "gateway")):
        assert [
            peer["podSelector"]["matchLabels"]
            for rule in policies[name]["ingress"]
            for peer in rule["from"]
        ] == [{"app.kubernetes.io/name": allowed}]
    open_to_all = {
        (name, port["protocol"])
        for name, spec in policies.items()
        for rule in spec.get("ingress", ())
        if "from" not in rule
        for port in rule["ports"]
    }
    # Media comes from anywhere, and is proven by DTLS.
    assert open_to_all == {("front", "TCP"), ("gateway", "UDP")}


def test_model_servers_are_started_as_in_compose() -> None:
    """With the same images and flags, but for the place of the model."""
    for overlay, service in (("cuda", "vllm-cuda"), ("rocm", "vllm-rocm")):
        found = containers(rendered(KUBERNETES / "overlays" / overlay))
        container = next(one for one in found if one["name"] == "vllm")
        theirs = compose()["services"][service]
        assert container["image"] == filled(theirs["image"])
        assert container["args"] == [filled(flag) for flag in theirs["command"]]
        given = {one["name"]: one["value"] for one in container["env"]}
        wanted = {k: v for k, v in theirs["environment"].items() if k != "VLLM_API_KEY"}
        assert given.items() >= wanted.items()
        resource = {"cuda": "nvidia.com/gpu", "rocm": "amd.com/gpu"}[overlay]
        assert container["resources"]["limits"][resource] == "1"


def test_they_scale_by_what_is_served() -> None:
    """The metrics that gateways and engines are scaled by exist, and their targets fit."""
    hpa = documents(KUBERNETES / "components/autoscaling/gateway.yaml")[0]["spec"]
    pods_metric = hpa["metrics"][0]["pods"]
    assert complaints(pods_metric["metric"]["name"]) == []
    wanted = int(pods_metric["target"]["averageValue"])
    most = int(settings_of()["GATEWAY_SESSIONS"])
    assert wanted < most
    assert hpa["maxReplicas"] * most == int(settings_of()["MAX_SESSIONS"])
    for trigger in documents(KUBERNETES / "components/autoscaling/vllm.yaml")[0]["spec"][
        "triggers"
    ]:
        assert complaints(trigger["metadata"]["query"]) == []
    known = {identity(one) for one in rendered(KUBERNETES / "overlays" / "cuda")}
    for name in ("gateway", "vllm"):
        target = documents(KUBERNETES / f"components/autoscaling/{name}.yaml")[0]["spec"]
        assert (target["scaleTargetRef"]["kind"], target["scaleTargetRef"]["name"]) in known


def test_prometheus_finds_the_pods() -> None:
    """By the labels, the port and the namespace that they have, and may list them."""
    read = yaml.safe_load((KUBERNETES / "prometheus.yml").read_text())
    manifests = {identity(one): one for one in rendered(KUBERNETES / "overlays" / "cuda")}
    for job, name in zip(read["scrape_configs"], ("gateway", "vllm"), strict=True):
        (found,) = job["kubernetes_sd_configs"]
        one = manifests["StatefulSet", name]
        assert found["namespaces"]["names"] == [one["metadata"]["namespace"]]
        (selector,) = found["selectors"]
        label, _, value = selector["label"].partition("=")
        assert one["spec"]["template"]["metadata"]["labels"][label] == value
        port = job["relabel_configs"][0]["regex"]
        ports = one["spec"]["template"]["spec"]["containers"][0]["ports"]
        assert [given.get("name") for given in ports].count(port) == 1
    here = yaml.safe_load((KUBERNETES.parent / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in read["scrape_configs"]] == [job["job_name"] for job in here]


def test_nginx_is_the_one_that_is_tested() -> None:
    """Its file is deploy/nginx.conf, but for what differs between pods and one machine."""
    assert TEMPLATE.read_text() == nginx_template(), (
        "deploy/nginx.conf has changed: run python -m tests.support.kubernetes, and read the change"
    )
