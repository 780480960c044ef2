"""The environment of child processes: the variables that programs and GPUs need, and no secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# All other variables, such as this server's secrets, are not inherited.
_PASSED = re.compile(
    r"^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_(CACHE|CONFIG|DATA)_HOME|XDG_RUNTIME_DIR"
    r"|VIRTUAL_ENV|(CUDA|HIP|HSA|ROCM|ROCR|GPU|NVIDIA|NCCL|RCCL|OMP|MKL|OPENBLAS|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|MIOPEN)_\w+"
    r"|(AITER|AMDGCN|FLASH_ATTENTION)_\w+|SAFETENSORS_FAST_GPU|HF_HOME|HF_HUB_CACHE|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS_VERIFY)|CONTAINER_HOST|VLLM_\w+)$"
)
# A container runtime without a service fetches images itself, and pip fetches packages.
_PASSED_TO_FETCH = re.compile(
    r"^((HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|PIP_\w+|REGISTRY_AUTH_FILE"
    r"|CONTAINERS_(CONF|STORAGE_CONF|REGISTRIES_CONF)|DBUS_SESSION_BUS_ADDRESS)$"
)
# Exceptions to both lists: they would log questions or answers, contain a secret, or are set by this server.
_NOT_PASSED = re.compile(
    r"^(VLLM_(API_KEY|BASE_URL|DEBUG_LOG_API_SERVER_RESPONSE|TRACE_FUNCTION|LOGGING_\w+))$|(_|^)(TOKEN|SECRET|PASSWORD|KEY)$"
)


def get_inherited_variables(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that programs and GPUs need, without secrets."""
    return {
        name: value
        for name, value in inherited.items()
        if _PASSED.match(name) and not _NOT_PASSED.search(name)
    }


def make_child_environment(
    inherited: Mapping[str, str], own: Mapping[str, str], *, fetches: bool = False
) -> dict[str, str]:
    """Return the environment of a child: `get_inherited_variables`, updated with `own`.

    A program that fetches container images or packages also gets the settings for proxies and
    packages.
    """
    fetching = inherited.items() if fetches else ()
    fetch = {name: value for name, value in fetching if _PASSED_TO_FETCH.match(name)}
    return {**get_inherited_variables(inherited), **fetch, **own}
