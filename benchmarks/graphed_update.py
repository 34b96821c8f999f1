"""The bare update as a CUDA graph: captured once, replayed with one call, so that Python and launches cost nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from am_ray.types import TransitionBatch
from benchmarks.bare_update import BareUpdate

# Updates done before the capture, as it demands; they count as the first updates.
WARM_UP = 3


class GraphedUpdate:
    """The update as a CUDA graph: of loss and backward, or of all of it."""

    def __init__(self, update: BareUpdate, *, whole: bool) -> None:
        if update.device.type != "cuda":
            raise RuntimeError("CUDA graphs need a GPU")
        self._update, self._whole = update, whole
        self._batch = _copied(update.batches[0])
        for group in update.optimizer.param_groups:
            group["capturable"] = True
        side: Any = torch.cuda.Stream(update.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for number in range(WARM_UP):
                self._load(number)
                update.optimizer.zero_grad(set_to_none=True)
                self._work()
                if not whole:
                    update.step()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(update.generator)
        update.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(self._graph):
            self._work()

    def __call__(self, number: int) -> None:
        if number < WARM_UP:
            return  # done on the way to the capture
        self._load(number)
        self._graph.replay()
        if not self._whole:
            self._update.step()

    def _work(self) -> None:
        self._update.loss(self._batch, generator=self._update.generator).loss.backward()
        if self._whole:
            step_without_wait(self._update)

    def _load(self, number: int) -> None:
        self._update.generator.manual_seed(number)
        _copy_into(self._batch, self._update.batches[number % len(self._update.batches)])


def step_without_wait(update: BareUpdate) -> None:
    """`step_if_finite` and the averages, decided on the device: no answer travels to the host, so a graph can hold it.

    Fused AdamW leaves weights and its state alone where ``found_inf`` is 1. The averages still move towards the weights of
    a skipped update, by their rate: the one difference from the learner's.
    """
    optimizer: Any = update.optimizer
    gradients = [p.grad for p in update.parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    clip = update.settings.optimization.max_gradient_norm
    if clip > 0.0:
        torch.nn.utils.clip_grads_with_norm_(update.parameters, clip, norm)
    optimizer.found_inf = (~torch.isfinite(norm)).float()
    optimizer.step()
    update.model.update_averages()


def _columns(batch: TransitionBatch[Tensor]) -> list[Tensor]:
    columns = batch.to_columns().values()
    return [x for value in columns for x in (value.values() if isinstance(value, dict) else [value])]


def _copied(batch: TransitionBatch[Tensor]) -> TransitionBatch[Tensor]:
    columns = batch.to_columns().items()
    return TransitionBatch.from_columns(
        {k: {n: x.clone() for n, x in v.items()} if isinstance(v, dict) else v.clone() for k, v in columns}
    )


def _copy_into(target: TransitionBatch[Tensor], source: TransitionBatch[Tensor]) -> None:
    for to, values in zip(_columns(target), _columns(source), strict=True):
        to.copy_(values)
