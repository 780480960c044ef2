"""See `vllm_omni`."""

from __future__ import annotations

from typing import Any


class Omni:
    def __init__(self, **options: Any) -> None:
        raise RuntimeError(f"no device for {options['model']}")
