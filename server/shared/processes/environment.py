"""The environment of every child process: our variables that programs and GPUs need, and no secret.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Everything else stays here, this server's secrets among it.
_PASSED = re.compile(
    r"^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_(CACHE|CONFIG|DATA)_HOME|XDG_RUNTIME_DIR"
    r"|VIRTUAL_ENV|(CUDA|HIP|HSA|ROCM|ROCR|GPU|NVIDIA|NCCL|RCCL|OMP|MKL|OPENBLAS|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|MIOPEN)_\w+"
    r"|(AITER|AMDGCN|FLASH_ATTENTION)_\w+|SAFETENSORS_FAST_GPU|HF_HOME|HF_HUB_CACHE|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS_VERIFY)|CONTAINER_HOST|VLLM_\w+)$"
)
# A container runtime fetches images itself where no service does it, and pip packages.
_PASSED_TO_FETCH = re.compile(
    r"^((HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|PIP_\w+|REGISTRY_AUTH_FILE"
    r"|CONTAINERS_(CONF|STORAGE_CONF|REGISTRIES_CONF)|DBUS_SESSION_BUS_ADDRESS)$"
)
# Exceptions to both: they would write questions or answers down, hold a secret, or are set by us.
_NOT_PASSED = re.compile(
    r"^(VLLM_(API_KEY|BASE_URL|DEBUG_LOG_API_SERVER_RESPONSE|TRACE_FUNCTION|LOGGING_\w+))$|(_|^)(TOKEN|SECRET|PASSWORD|KEY)$"
)


def inherited_variables(inherited: Mapping[str, str]) -> dict[str, str]:
    """Keep of an environment what programs and GPUs need, and no secret."""
    return {
        name: value
        for name, value in inherited.items()
        if _PASSED.match(name) and not _NOT_PASSED.search(name)
    }


def child_environment(
    inherited: Mapping[str, str], own: Mapping[str, str], *, fetches: bool = False
) -> dict[str, str]:
    """Build a child's environment: what `inherited_variables` keeps, then `own`, which wins.

    A program that fetches container images or packages also gets proxies and the settings for those.
    """
    fetching = inherited.items() if fetches else ()
    fetch = {name: value for name, value in fetching if _PASSED_TO_FETCH.match(name)}
    return {**inherited_variables(inherited), **fetch, **own}
