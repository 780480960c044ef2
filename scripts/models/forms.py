"""The quantised forms that can be made, by name. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One form that vLLM loads. `name` ends the new folder's name."""

    name: str
    preset: str
    # As compressed-tensors and vLLM call it
    format: str
    bits: int
    # Columns that share a scale; None: a row does
    group: int | None
    # Dtypes of the stored weight in a safetensors header
    stored: str


# vLLM 0.32.0 loads them as CompressedTensorsW8A8Fp8, CompressedTensorsW8A8Int8 and
# CompressedTensorsWNA16.
FORMS = {
    "fp8": Form("fp8", "FP8_DYNAMIC", "float-quantized", 8, None, "F8_E4M3"),
    "int8": Form("w8a8", "W8A8", "int-quantized", 8, None, "I8"),
    "int4": Form("w4a16", "W4A16", "pack-quantized", 4, 128, "I32"),
}
