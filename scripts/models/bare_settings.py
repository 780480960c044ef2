"""The settings on which vLLM's command depends, read with only the standard library.

`start_vllm_server.sh --dry-run` uses this module if no packages are installed; everything else uses
`config`, which has the same names, values and bounds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from scripts.models.disk import ModelError
from server.core.setting_text import check_base_urls, unquote

# Default, minimum and maximum
NUMBERS: Mapping[str, tuple[float, float, float]] = {
    "gpu_memory_utilization": (0.90, 0.05, 1),
    "max_concurrent_inferences": (0, 0, 256),
    "model_max_tokens": (8192, 512, 1_048_576),
    "response_max_tokens": (128, 1, 4096),
    "visual_token_budget": (512, 16, 16_384),
}
TEXTS: Mapping[str, str] = {
    "model_dtype": "auto",
    "model_name": "",
    "model_path": "~/models/qwen2.5-vl-32b",
    "vllm_api_key": "",
    "vllm_base_url": "http://127.0.0.1:8001/v1",
}
DTYPES = ("auto", "float16", "bfloat16", "float32")
_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?:'(?P<quoted_key>[^']+)'|(?P<key>[^=\#\s]+))[ \t]*=[ \t]*
    (?:'(?P<single>(?:\\'|[^'])*)'|"(?P<double>(?:\\"|[^"])*)"|(?P<plain>(?!['"])[^\r\n]*))
    [ \t]*(?:\#[^\r\n]*)?(?=[\r\n]|\Z)""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"\s+#.*")
_ESCAPE = re.compile(r"\\[\\'\"abfnrtv]")


def read(env_file: Path) -> SimpleNamespace:
    """Return the settings by name; the environment takes precedence over the file. Raises ModelError."""
    given = read_values(env_file) | {name.lower(): value for name, value in os.environ.items()}
    kept = {name: value for name, text in given.items() if (value := unquote(text))}
    found: dict[str, object] = {
        **{name: kept.get(name, default) for name, default in TEXTS.items()},
        **{name: _parse_number(name, kept) for name in NUMBERS},
    }
    dtype = str(found["model_dtype"]).lower()
    if dtype not in DTYPES:
        raise ModelError(f"MODEL_DTYPE is not one of {', '.join(DTYPES)}. Correct it in .env.")
    try:
        url = check_base_urls(str(found["vllm_base_url"]))[0]
        path = Path(str(found["model_path"])).expanduser()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"VLLM_BASE_URL or MODEL_PATH cannot be used: {error}.") from None
    found |= {"model_dtype": dtype, "model_path": path, "vllm_base_url": url}
    key = str(found["vllm_api_key"])
    found["vllm_api_key"] = SimpleNamespace(get_secret_value=lambda: key)
    return SimpleNamespace(**found)


def read_values(env_file: Path) -> dict[str, str]:
    """Return the values in a file in `.env` format, by name in lower case. Raises ModelError."""
    try:
        text = env_file.read_text("utf-8") if env_file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{env_file} cannot be read as UTF-8 text ({error}).") from None
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if found := _LINE.match(text, at):
            value = found["plain"]
            if value is not None:
                value = _COMMENT.sub("", value).rstrip()
            elif found["single"] is not None:
                value = re.sub(r"\\([\\'])", r"\1", found["single"])
            else:
                value = _ESCAPE.sub(
                    lambda one: one[0].encode("ascii").decode("unicode_escape"), found["double"]
                )
            key = found["quoted_key"] or found["key"]
            values[key] = value
            end = max(end, found.end())
        at = end + 1
    return {key.lower(): value for key, value in values.items()}


def _parse_number(name: str, kept: Mapping[str, str]) -> float:
    default, least, most = NUMBERS[name]
    kind = float if isinstance(default, float) else int
    try:
        value = kind(kept.get(name, default))
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise ModelError(
            f"{name.upper()} is not a number from {least:g} to {most:g}. Correct it in .env."
        )
    return value
