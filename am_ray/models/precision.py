"""The number format in which networks compute while they learn."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def network_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """A context for the loss: ``bfloat16`` runs matrix products and convolutions in it.

    Weights, averages, the optimizer, and whatever comes after a network's output (targets, draws, losses) stay float32;
    so does acting, which happens outside.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
