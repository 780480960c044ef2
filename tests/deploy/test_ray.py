"""deploy/ray/serve.yaml: the same vLLM as deploy/docker-compose.yml, and Ray's own schema of it."""

from __future__ import annotations

import importlib
import importlib.util
import re
from typing import Any

import pytest
import yaml

from config import load
from tests.deploy.test_containers import DEPLOY, compose, filled, plain_value


def application() -> dict[str, Any]:
    whole = yaml.safe_load((DEPLOY / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    (found,) = whole["applications"]
    return dict(found)


def test_its_vllm_is_started_as_in_compose() -> None:
    """Each flag of the containers is an argument here, with the same value."""
    (model,) = application()["args"]["llm_configs"]
    flags = [filled(flag) for flag in compose()["services"]["vllm-cuda"]["command"][1:]]
    own = {"served-model-name", "host", "port"}
    wanted: dict[str, Any] = {}
    for flag in flags:
        name, _, value = flag.removeprefix("--").partition("=")
        if name not in own:
            key = re.sub("^no-", "", name).replace("-", "_")
            wanted[key] = plain_value(value) if value else not name.startswith("no-")
    # vLLM splits a flag with several values.
    wanted["allowed_media_domains"] = wanted["allowed_media_domains"].split()
    assert model["engine_kwargs"] == wanted
    name = next(flag for flag in flags if flag.startswith("--served-model-name="))
    assert model["model_loading_config"]["model_id"] == name.partition("=")[2]


def test_it_keeps_to_the_time_and_port_of_the_web_server() -> None:
    """The address is the default of VLLM_BASE_URL, for this machine alone until it is changed."""
    whole = yaml.safe_load((DEPLOY / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    http = whole["http_options"]
    assert load(env_file=None).vllm_base_url == f"http://{http['host']}:{http['port']}/v1"
    # An answer may take 120 s.
    assert http["request_timeout_s"] > 120
    deployed = application()["args"]["llm_configs"][0]["deployment_config"]
    assert deployed["graceful_shutdown_timeout_s"] >= 120
    scaling = deployed["autoscaling_config"]
    assert scaling["target_ongoing_requests"] <= deployed["max_ongoing_requests"]


@pytest.mark.filterwarnings("ignore")
def test_ray_takes_it() -> None:
    """Ray's own schema takes the file, where Ray is installed, and the router of sessions is one of its classes."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'ray[serve]'.")
    config: Any = importlib.import_module("ray.serve.config")
    schema: Any = importlib.import_module("ray.serve.schema")
    whole = yaml.safe_load((DEPLOY / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    schema.ServeDeploySchema.model_validate(whole)
    deployed = application()["args"]["llm_configs"][0]["deployment_config"]
    schema.DeploymentSchema(name="model", **deployed)
    router = config.RequestRouterConfig(**deployed["request_router_config"])
    assert router.get_request_router_class().__name__ == "ConsistentHashRouter"
