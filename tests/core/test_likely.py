"""The mean of the best candidates, by hand."""

from __future__ import annotations

import torch

from am_ray.core.likely import mean_of_best


def test_the_best_are_averaged_and_vote() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.8], [4.0, 1.0, 2.0, 3.0]])
    continuous = torch.tensor([[[9.0], [1.0], [9.0], [3.0]], [[1.0], [9.0], [9.0], [2.0]]])
    binary = torch.tensor([[[1.0], [-1.0], [1.0], [-1.0]], [[1.0], [-1.0], [-1.0], [-1.0]]])
    mean, vote = mean_of_best(scores, continuous, binary, num_best=2)
    assert mean.tolist() == [[2.0], [1.5]]
    assert vote.tolist() == [[-1.0], [1.0]]  # a tie is 1
    alone, _ = mean_of_best(scores, continuous, binary, num_best=1)
    assert alone.tolist() == [[1.0], [1.0]]
