"""Averaged copies of weights (QT-Opt: Polyak averaging; TD3, Eq. 15)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def polyak_update(averaged: Sequence[Tensor], online: Sequence[Tensor], *, rate: float) -> None:
    """``averaged += rate * (online - averaged)``, in place; ``rate`` in [0, 1], 1 copies.

    Args:
        averaged: Tensors to move.
        online: Tensors to move towards, of the same shapes and order.
        rate: Share of the way.
    """
    torch._foreach_lerp_(list(averaged), list(online), rate)
