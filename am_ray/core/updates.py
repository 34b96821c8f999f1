"""One optimizer step, or none: a non-finite loss or gradient must leave weights and optimizer state as they are.

RLlib 2.60's own guard is inverted (``torch_skip_nan_gradients=True`` steps with the NaN), hence this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StepResult:
    """Whether the optimizer stepped, and the global gradient norm before clipping."""

    stepped: bool
    gradient_norm: Tensor


def step_if_finite(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    *,
    max_gradient_norm: float,
) -> StepResult:
    """Steps the optimizer on the gradients already in ``parameters`` unless their total norm is not finite.

    One check suffices for loss and gradients: a NaN or infinity anywhere in them makes the total norm non-finite. It
    does not suffice for the *batch*: encoders clip their inputs, so an infinity there can end in finite gradients;
    ``am_ray.algorithm.rl_module._finite`` looks for those and poisons the loss.
    With several learners gradients are averaged before this call, so all of them take the same decision.

    Args:
        optimizer: Over ``parameters``.
        parameters: Their ``grad`` is set (``None`` counts as zero).
        max_gradient_norm: Clip on the global norm; 0 switches clipping off.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if not bool(torch.isfinite(norm)):
        return StepResult(False, norm)
    if max_gradient_norm > 0.0:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_gradient_norm, norm)
    optimizer.step()
    return StepResult(True, norm)
