"""Quantise a weight with the compressed-tensors library (Apache-2.0, of the vLLM project, which
loads the same form).

All of it is data-free: a weight's scale comes from the weight alone, activations are scaled while
the model runs, so no pictures or texts are needed. The vision tower, the embeddings and the last
layer keep their precision, as in the published quantised Qwen-VL models.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import compressed_tensors
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationScheme,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams

from scripts.models.forms import Form

LIBRARY_VERSION = str(compressed_tensors.__version__)
# The same names in transformers, in vLLM and in checkpoints old and new.
IGNORED = ["re:.*visual.*", "re:.*lm_head"]
GROUPS = (128, 64, 32)


def fitted(form: Form, columns: set[int]) -> Form | None:
    """The form with the largest group that divides every weight's columns; None when there is none."""
    if form.group is None:
        return form
    for group in GROUPS:
        if all(count % group == 0 for count in columns):
            return replace(form, group=group)
    return None


def scheme(form: Form) -> QuantizationScheme:
    chosen = preset_name_to_scheme(form.preset, ["Linear"])
    if form.group is not None:
        chosen.weights.group_size = form.group
    return chosen


def quantized(weight: torch.Tensor, chosen: QuantizationScheme, form: Form) -> dict[str, Any]:
    """Return the stored tensors of a rows by columns weight, by the last part of their names."""
    if form.group is None:
        low, high = torch.aminmax(weight, dim=1, keepdim=True)
    else:
        low, high = torch.aminmax(weight.unflatten(-1, (-1, form.group)), dim=-1)
    scale, _ = calculate_qparams(low, high, chosen.weights)
    compressor = BaseCompressor.get_value_from_registry(form.format)
    return dict(compressor.compress({"weight": weight, "weight_scale": scale}, chosen))


def configuration(form: Form) -> dict[str, Any]:
    """`quantization_config` of the new config.json."""
    chosen = scheme(form)
    # Also read by the library's release in vLLM 0.9.2 (0.10.2), which knows the format only at the
    # top.
    whole = QuantizationConfig(
        config_groups={"group_0": chosen},
        ignore=IGNORED,
        format=form.format,
        quantization_status="compressed",
    )
    plain: dict[str, Any] = json.loads(whole.model_dump_json(exclude_none=True))
    return {**plain, "quant_method": "compressed-tensors", "version": LIBRARY_VERSION}
