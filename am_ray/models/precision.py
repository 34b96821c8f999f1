"""The number format in which networks compute while they learn."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

EMULATED = (
    "optimization.precision: got bfloat16 on a processor without it (AVX512); it is emulated, and an update from images takes "
    "ten times as long (measured on one). Set float32."
)


def is_emulated(precision: Precision, device: torch.device) -> bool:
    """Whether the device has no such numbers, so that torch computes with them far slower than with float32."""
    if precision != "bfloat16" or device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def network_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """A context for the loss: ``bfloat16`` runs matrix products and convolutions in it.

    Weights, averages, the optimizer, and whatever comes after a network's output (targets, draws, losses) stay float32;
    so does acting, which happens outside.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
