"""Goal-conditioned behaviour cloning: -log p(a | s, g) under hindsight goals (Ghosh et al. 2021, GCSL; Lynch et al. 2020).

The density is a Gaussian mixture over the continuous entries of the action and a Bernoulli per two-valued entry
(a gripper): mean-squared error would be a strawman against which anything wins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from am_ray.arrays import Float


@dataclass(frozen=True)
class ActionDensity:
    """Parameters of p(a | s, g) for a batch.

    Attributes:
        mixture_logits: ``(b, m)``.
        mean: ``(b, m, c)`` of the c continuous entries, in [-1, 1].
        std: ``(b, m, c)``, positive.
        binary_logits: ``(b, d)`` of the two-valued entries; p(entry > 0).
    """

    mixture_logits: Tensor
    mean: Tensor
    std: Tensor
    binary_logits: Tensor

    def log_prob(self, continuous: Float[Tensor, "b c"], binary: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log p(a | s, g): the mixture's density plus the Bernoullis' log-probability."""
        z = (continuous.unsqueeze(1) - self.mean) / self.std
        component = (-0.5 * z**2 - self.std.log() - 0.5 * math.log(2.0 * math.pi)).sum(dim=2)
        mixture = torch.logsumexp(component + self.mixture_logits.log_softmax(dim=1), dim=1)
        signs = -binary_cross_entropy_with_logits(self.binary_logits, (binary > 0.0).float(), reduction="none")
        return mixture + signs.sum(dim=1)

    @torch.no_grad()
    def mode(self) -> tuple[Tensor, Tensor]:
        """The mean of the component with the highest peak ``(b, c)`` and the likelier sign of each two-valued entry ``(b, d)``."""
        best = (self.mixture_logits.log_softmax(dim=1) - self.std.log().sum(dim=2)).argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return self.mean[rows, best], self._likelier_signs()

    @torch.no_grad()
    def expected(self) -> tuple[Tensor, Tensor]:
        """The mean of the whole mixture ``(b, c)`` and the likelier sign of each two-valued entry ``(b, d)``."""
        weight = self.mixture_logits.softmax(dim=1).unsqueeze(2)
        return (weight * self.mean).sum(dim=1), self._likelier_signs()

    @torch.no_grad()
    def expected_and_drawn(self, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """As `expected`, but with one draw of each two-valued entry in place of its likelier sign."""
        return self.expected()[0], self.sample(1, generator=generator)[1][:, 0]

    def _likelier_signs(self) -> Tensor:
        return torch.where(self.binary_logits > 0.0, 1.0, -1.0)

    @torch.no_grad()
    def sample(self, num: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``num`` draws: continuous ``(b, num, c)`` clipped to [-1, 1] and two-valued ``(b, num, d)`` in {-1, 1}."""
        # Weights that overflowed would make the draw itself raise; the loss that they lead to is not finite and is skipped.
        weights = self.mixture_logits.nan_to_num().softmax(dim=1)
        component = torch.multinomial(weights, num, replacement=True, generator=generator)
        index = component.unsqueeze(-1).expand(-1, -1, self.mean.shape[2])
        mean, std = self.mean.gather(1, index), self.std.gather(1, index)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        uniform = torch.rand(len(mean), num, self.binary_logits.shape[1], generator=generator, device=mean.device)
        signs = torch.where(uniform < torch.sigmoid(self.binary_logits).unsqueeze(1), 1.0, -1.0)
        return (mean + std * noise).clamp(-1.0, 1.0), signs


def cloning_loss(
    density: ActionDensity, continuous: Float[Tensor, "b c"], binary: Float[Tensor, "b d"], weight: Float[Tensor, " b"]
) -> Tensor:
    """Weighted mean of -log p(a | s, g); transitions with a random goal carry weight 0, for the data did not reach it."""
    return -(weight * density.log_prob(continuous, binary)).sum() / weight.sum().clamp_min(1.0)
