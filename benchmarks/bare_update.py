"""A whole update on batches that lie on the device: loss, backward, step, averages; what it multiplies, and what the device can.

Needs torch, NumPy, `am_ray.core` and `am_ray.models` alone, so that it runs on any machine that has torch.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from am_ray.core.updates import step_if_finite
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings, PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.types import DataSpec, DataStatistics, TransitionBatch

STATE_DIM, ACTION_DIM, PIXELS, POOL = 21, 4, 64, 4096


def algorithm_settings(overrides: Sequence[str]) -> AlgorithmSettings:
    """The defaults with ``algorithm.a.b=c`` laid over them; without YAML, which a bare machine may lack."""
    mapping: dict[str, Any] = {}
    for override in overrides:
        name, _, text = override.partition("=")
        *groups, last = name.split(".")
        inner = mapping
        for group in groups:
            inner = inner.setdefault(group, {})
        try:
            inner[last] = json.loads(text)
        except ValueError:
            inner[last] = text
    return read_settings(PretrainSettings, mapping, "--set").algorithm


class BareUpdate:
    """The learner's update without RLlib: fused AdamW, the finiteness check, both averages.

    Batches are random (their values do not matter to speed) and lie on the device before anything is timed.
    """

    def __init__(self, settings: AlgorithmSettings, *, image: bool, device: str = "cpu", batches: int = 4) -> None:
        rng = np.random.default_rng(0)
        torch.manual_seed(0)
        self.settings, self.device = settings, torch.device(device)
        feature, shape = ("front", (PIXELS, PIXELS, 3)) if image else ("state", (STATE_DIM,))
        spec = DataSpec({feature: shape}, {feature: None}, (-1.0,) * ACTION_DIM, (1.0,) * ACTION_DIM)
        pool = rng.uniform(-1.0, 1.0, (POOL, ACTION_DIM)).astype(np.float32)
        scale = {} if image else {feature: np.ones(shape, np.float32)}
        means = {name: np.zeros_like(value) for name, value in scale.items()}
        self.model: Any = build_model(spec, DataStatistics(means, scale, pool), settings).to(self.device)
        self.parameters = self.model.trainable_parameters()
        rate, decay = settings.optimization.learning_rate, settings.optimization.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=decay, fused=True)
        self.generator = torch.Generator(device=self.device)
        size = settings.optimization.batch_size
        self.batches = [_batch(rng, feature, shape, size, self.device) for _ in range(batches)]
        self.loss: Callable[..., Any] = self.model.loss

    def __call__(self, number: int) -> None:
        self.gradients(number)
        self.step()

    def gradients(self, number: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        batch = self.batches[number % len(self.batches)]
        self.loss(batch, generator=self.generator.manual_seed(number)).loss.backward()

    def step(self) -> None:
        clip = self.settings.optimization.max_gradient_norm
        if step_if_finite(self.optimizer, self.parameters, max_gradient_norm=clip).stepped:
            self.model.update_averages()


def _batch(
    rng: np.random.Generator, feature: str, shape: tuple[int, ...], size: int, device: torch.device
) -> TransitionBatch[Tensor]:
    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    def observation() -> dict[str, Tensor]:
        if len(shape) == 3:
            return {feature: tensor(rng.integers(0, 256, (size, *shape), np.uint8))}
        return {feature: tensor(rng.standard_normal((size, *shape), np.float32))}

    def action() -> Tensor:
        return tensor(rng.uniform(-1.0, 1.0, (size, ACTION_DIM)).astype(np.float32))

    return TransitionBatch(
        observation=observation(),
        next_observation=observation(),
        goal=observation(),
        action=action(),
        next_action=action(),
        next_is_final=tensor(rng.random(size) < 0.04),
        is_end=tensor(rng.random(size) < 0.2),
        num_steps=tensor(rng.integers(1, 30, size)),
        source=tensor(rng.integers(0, 2, size)),
    )


@dataclass(frozen=True)
class Work:
    """What some operators do: multiplications and additions of products and convolutions by dtype, and bytes in and out."""

    flops: dict[torch.dtype, float]
    moved_bytes: float


class WorkCounter(TorchDispatchMode):
    """Counts the work of every operator inside the block, by part.

    Bytes are those of tensors that an operator reads or writes, views left out: what the memory sees if no cache helps.
    """

    def __init__(self, part: Callable[[], str]) -> None:
        super().__init__()
        self._part = part
        self._flops: dict[str, dict[torch.dtype, float]] = defaultdict(lambda: defaultdict(float))
        self._moved: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        part, inputs = self._part(), [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if func.overloadpacket in flop_registry:
            flops = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
            self._flops[part][inputs[-1].dtype] += flops
        storages = {x.untyped_storage().data_ptr() for x in inputs}
        is_view = bool(outputs) and not func._schema.is_mutable and _all_within(outputs, storages)
        if not is_view:
            self._moved[part] += sum(x.numel() * x.element_size() for x in [*inputs, *outputs])
        return out

    @property
    def work(self) -> dict[str, Work]:
        return {part: Work(dict(self._flops[part]), self._moved[part]) for part in self._moved}


def _all_within(outputs: list[Tensor], storages: set[int]) -> bool:
    return all(x.untyped_storage().data_ptr() in storages for x in outputs)


def total(work: dict[str, Work]) -> Work:
    flops: dict[torch.dtype, float] = defaultdict(float)
    for each in work.values():
        for dtype, count in each.flops.items():
            flops[dtype] += count
    return Work(dict(flops), sum(each.moved_bytes for each in work.values()))


def gemm_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Measured FLOP/s of a large square product: the most that an update could reach."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2.0 * size**3 / _best_seconds(lambda: a @ b, device)


def copy_bandwidth(device: torch.device) -> float:
    """Measured bytes/s of a copy that no cache holds, read and written bytes together."""
    source = torch.ones(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    return 2.0 * source.numel() * source.element_size() / _best_seconds(lambda: target.copy_(source), device)


def _best_seconds(run: Callable[[], Any], device: torch.device, repeats: int = 6) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        wait_for(device)
        began = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_update(run: Callable[[int], object], device: torch.device, *, updates: int, pieces: int) -> list[float]:
    """Seconds per update in each of ``pieces`` pieces of ``updates``; the device is waited for at their ends alone."""
    figures = []
    for piece in range(pieces):
        wait_for(device)
        began = time.perf_counter()
        for number in range(updates):
            run(piece * updates + number)
        wait_for(device)
        figures.append((time.perf_counter() - began) / updates)
    return figures


def median_ms(figures: Sequence[float]) -> float:
    return 1e3 * statistics.median(figures)
