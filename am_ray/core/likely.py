"""Acting without a search over the whole box: Q chooses among actions that the data would take.

Ours, beside the paper's argmax by CEM. Candidates from a model of the data's actions, ranked by Q: EMaQ (Ghasemipour et al. 2021), SfBC
(Chen et al. 2023), IDQL (Hansen-Estruch et al. 2023). These take one of them; the mean of the best averages out what Q does not know.
"""

from __future__ import annotations

import torch
from torch import Tensor

from am_ray.arrays import Float


@torch.no_grad()
def mean_of_best(
    scores: Float[Tensor, "b n"], continuous: Float[Tensor, "b n c"], binary: Float[Tensor, "b n d"], *, num_best: int
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b d"]]:
    """The mean of the continuous entries of the ``num_best`` candidates with the highest scores, and the majority of the two-valued ones.

    Args:
        scores: Of the candidates.
        continuous: Their continuous entries.
        binary: Their two-valued entries, in {-1, 1}; a tie is 1.
        num_best: At least 1, at most n.
    """
    best = scores.topk(num_best, dim=1).indices.unsqueeze(-1)
    mean = continuous.gather(1, best.expand(-1, -1, continuous.shape[2])).mean(dim=1)
    vote = binary.gather(1, best.expand(-1, -1, binary.shape[2])).sum(dim=1)
    return mean, torch.where(vote < 0.0, -1.0, 1.0)
