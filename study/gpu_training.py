"""Training without Ray on one GPU, the data in its memory: the same networks, losses, relabeling and averages.

python -m study.gpu_training CONFIG.yaml --data PACKED --out DIR [--seed 0] [--minutes 8] [--compile] [--set critic.discount=0.95]

For machines that have torch and NumPy alone, and for images, where `am-ray pretrain` on one CPU takes hours. An update is
captured once as a CUDA graph and replayed: without that, launching its thousand small kernels takes most of the time. With
``--minutes`` training lasts as long, and the learning rate falls by the clock. Draws differ from those of `am-ray
pretrain`, so the weights do; the settings mean the same. Before an update is captured it is done 20 times, on one batch, and these
are not counted. The last 200 episodes are kept out of training, for the log. Training cannot be resumed: stopped, it starts over.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from am_ray.core.relabel import relabel
from am_ray.core.schedule import decayed_rate
from am_ray.models.checkpoint import Checkpoint, TrainingState, write_checkpoint
from am_ray.models.encoders import ImageEncoder
from am_ray.models.policy import build_model
from am_ray.models.precision import is_emulated, network_precision
from am_ray.settings import AlgorithmSettings, TrainingSettings
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import apply_overrides, load_yaml
from am_ray.types import DatasetError, SettingsError, TransitionBatch
from study.packed import Packed, unpack

_DRAWN_UPDATES = 64
_WARM_UP = 20
HELD_OUT = 200  # episodes, the last ones
_VALIDATION_BATCHES = 16

Indices = Tensor  # (7, b) int64: row, goal_row, next_action_row, num_steps, source, is_end, next_is_final


class DeviceReplay:
    """Episodes on the device; batches are drawn by the kernel that `am-ray pretrain` uses."""

    def __init__(self, packed: Packed, settings: AlgorithmSettings, device: torch.device) -> None:
        block = packed.block
        self._block, self._spec, self._settings, self._device = block, packed.spec, settings, device
        self.observations = {name: torch.from_numpy(x).to(device) for name, x in block.observations.items()}
        self.actions = torch.from_numpy(block.actions).to(device)

    def draws(self, episodes: slice, rng: np.random.Generator) -> Iterator[Indices]:
        """Endless indices of batches over a range of episodes."""
        drawn, size = self._settings.drawn_goals, self._settings.optimization.batch_size
        first_row, num_transitions = self._block.first_row[episodes], self._block.num_transitions[episodes]
        start = first_row[0]
        while True:
            found = relabel(
                first_row - start,
                num_transitions,
                num_samples=size * _DRAWN_UPDATES,
                num_goal_rows=int(first_row[-1] - start + num_transitions[-1] + 1),
                chaining_ratio=drawn.chaining_ratio,
                chaining_window=drawn.chaining_window,
                past_share=drawn.past_share,
                goal_sampling=drawn.goal_sampling,
                discount=self._settings.critic.discount,
                last_state_share=drawn.last_state_share,
                next_state_share=drawn.next_state_share,
                rng=rng,
            )
            rows = (found.row + start, found.goal_row + start, found.next_action_row + start)
            rest = (found.num_steps, found.source, found.is_end, found.next_is_final)
            table = np.stack([x.astype(np.int64) for x in (*rows, *rest)])
            yield from torch.split(torch.from_numpy(table).to(self._device), size, dim=1)

    def batch(self, indices: Indices) -> TransitionBatch[Tensor]:
        """`am_ray.core.relabel.gather` on the device."""
        row, goal_row, next_action_row, num_steps, source, is_end, next_is_final = indices.unbind()
        return TransitionBatch(
            observation={name: x[row] for name, x in self.observations.items()},
            next_observation={name: x[row + 1] for name, x in self.observations.items()},
            goal=self._spec.goal_of({name: self.observations[name][goal_row] for name in self._spec.goal_indices}),
            action=self.actions[row],
            next_action=self.actions[next_action_row],
            next_is_final=next_is_final.bool(),
            is_end=is_end.bool(),
            num_steps=num_steps,
            source=source,
        )


class Trainer:
    """One gradient step after another, captured as a graph where there is a GPU."""

    def __init__(
        self, packed: Packed, settings: AlgorithmSettings, seed: int, device: torch.device, *, compiled: bool = False
    ) -> None:
        torch.manual_seed(seed)
        self.settings, self.device = settings, device
        self.model: Any = build_model(packed.spec, packed.statistics, settings).to(device)
        for part in self.model.modules() if compiled else ():
            if isinstance(part, ImageEncoder):
                part.compile(dynamic=False)
        self._replay = DeviceReplay(packed, settings, device)
        self._parameters = self.model.trainable_parameters()
        on_gpu = device.type == "cuda"
        rate, decay = settings.optimization.learning_rate, settings.optimization.weight_decay
        self._rate = torch.tensor(rate, device=device)
        self._optimizer = torch.optim.AdamW(self._parameters, lr=self._rate, weight_decay=decay, capturable=on_gpu)
        self._generator = torch.cuda.default_generators[0] if on_gpu else torch.default_generator
        held_out = slice(-HELD_OUT, None)
        self._training = self._replay.draws(slice(None, -HELD_OUT), np.random.default_rng([seed, 0]))
        validation = self._replay.draws(held_out, np.random.default_rng([seed, 1]))
        self._validation = [next(validation) for _ in range(_VALIDATION_BATCHES)]
        self._indices = next(self._training).clone()
        self._replayed: Callable[[], None] | None = None
        self.metrics: dict[str, Tensor] = {}
        self.update_number = 0

    def capture(self) -> None:
        """Records one update as a CUDA graph; what is played from then on."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self._optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self._replayed = graph.replay

    def update(self, position: int, length: int) -> None:
        """One step, at ``position`` of ``length`` of the training, in updates or in time."""
        rates = self.settings.optimization
        rate = decayed_rate(rates.learning_rate, update=position, updates=length, decay_share=rates.decay_share)
        self._rate.fill_(rate)
        self._indices.copy_(next(self._training))
        (self._replayed or self._step)()
        self.update_number += 1

    def _loss(self, indices: Indices) -> Any:
        context = network_precision(self.settings.optimization.precision, self.device)
        context._cache_enabled = False  # casts of weights must be part of the graph
        with context:
            return self.model.loss(self._replay.batch(indices), generator=self._generator)

    def _step(self) -> None:
        out = self._loss(self._indices)
        self._optimizer.zero_grad(set_to_none=True)
        out.loss.backward()
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.settings.optimization.max_gradient_norm:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self.settings.optimization.max_gradient_norm, norm)
        self._optimizer.step()
        self.model.update_averages()
        self.metrics = out.metrics | {"train/loss": out.loss.detach(), "train/gradient_norm": norm}

    @torch.no_grad()
    def validation(self) -> dict[str, float]:
        """Means over episodes kept out of training, by the weights that learn."""
        rows = [self._loss(indices).metrics for indices in self._validation]
        return {name: torch.stack([row[name] for row in rows]).mean().item() for name in rows[0]}

    def state(self) -> TrainingState:
        weights = {name: value.cpu().numpy().copy() for name, value in self.model.state_dict().items()}
        return TrainingState(weights, {}, self.update_number)


def check_trainable(packed: Packed, settings: AlgorithmSettings) -> None:
    """Refuses what `DeviceReplay` cannot draw from.

    Raises:
        DatasetError: There are too few episodes.
        SettingsError: Episodes are to be linked (``relabel.chaining_neighbors``).
    """
    if len(packed.block.num_transitions) <= HELD_OUT:
        raise DatasetError(
            f"{len(packed.block.num_transitions)} episodes; expected more than the {HELD_OUT} that are kept out of training."
        )
    if settings.drawn_goals.chaining_neighbors and settings.drawn_goals.chaining_ratio:
        raise SettingsError(
            f"relabel.chaining_neighbors: got {settings.relabel.chaining_neighbors}; expected 0, for this loop links no episodes. "
            f"Set it to 0, or train with 'am-ray pretrain'."
        )


def train(
    packed: Packed,
    settings: AlgorithmSettings,
    out: Path,
    *,
    seed: int,
    updates: int,
    minutes: float,
    every: int,
    compiled: bool = False,
) -> None:
    """Trains and writes ``out/log.jsonl`` and the last weights as a checkpoint (no optimizer state).

    Args:
        packed: The data.
        settings: Of the algorithm.
        out: Folder, made if missing.
        seed: Of the weights and all draws.
        updates: How many.
        minutes: As many updates as fit, instead; 0: ``updates``.
        every: Updates between two lines of the log.
        compiled: Whether torch.compile fuses the small kernels of image encoders.

    Raises:
        DatasetError: There are too few episodes.
        SettingsError: Episodes are to be linked (``relabel.chaining_neighbors``).
    """
    check_trainable(packed, settings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    if is_emulated(settings.optimization.precision, device):
        settings = replace(settings, optimization=replace(settings.optimization, precision="float32"))
        print("float32 in place of bfloat16, which this processor has not", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    trainer = Trainer(packed, settings, seed, device, compiled=compiled)
    if device.type == "cuda":
        trainer.capture()
    length = int(minutes * 60_000.0) or updates
    with (out / "log.jsonl").open("w") as log:
        position = 0
        while position < length:
            trainer.update(position, length)
            position = int((time.monotonic() - begin) * 1000.0) if minutes else trainer.update_number
            if trainer.update_number % every == 0 or position >= length:
                trained = {name: value.item() for name, value in trainer.metrics.items()}
                if not all(map(np.isfinite, trained.values())):
                    raise SystemExit(
                        f"update {trainer.update_number}: {trained}; expected finite numbers. Lower the learning rate."
                    )
                seconds = time.monotonic() - begin
                line = {"update": trainer.update_number, "seconds": round(seconds, 1)}
                values = trained | {f"held_out/{name}": value for name, value in trainer.validation().items()}
                log.write(json.dumps(line | {n: round(v, 4) for n, v in values.items()}) + "\n")
                log.flush()
    origin = {"seed": seed, "num_learners": 0, "dataset": packed.origin, "ingest": {}}
    write_checkpoint(out, Checkpoint(packed.spec, packed.statistics, settings, trainer.state(), origin))


def read_config(path: str | Path, changes: list[str]) -> tuple[AlgorithmSettings, int]:
    """The algorithm's settings of a config file, and its number of updates."""
    content = apply_overrides(load_yaml(path), [f"algorithm.{change}" for change in changes])
    settings = read_settings(AlgorithmSettings, content.get("algorithm", {}), str(path))
    training = read_settings(TrainingSettings, content.get("training", {}), str(path))
    return settings, training.updates


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m study.gpu_training", description="Trains without Ray on one GPU.")
    parser.add_argument("config", metavar="CONFIG.yaml", help="as for am-ray pretrain; its dataset is not read")
    parser.add_argument("--data", required=True, metavar="DIR", help="of python -m study.packed")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the log and the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=0, help="default: the config's")
    parser.add_argument("--minutes", type=float, default=0.0, help="as many updates as fit, instead")
    parser.add_argument("--every", type=int, default=1000, help="updates between two lines of the log")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="fuse the image encoder's small kernels: 312 updates/s, not 265 (one H100)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="such as critic.discount=0.95")
    return parser


def main() -> None:
    args = argument_parser().parse_args()
    settings, updates = read_config(args.config, args.set)
    train(
        unpack(args.data),
        settings,
        Path(args.out),
        seed=args.seed,
        updates=args.updates or updates,
        minutes=args.minutes,
        every=args.every,
        compiled=args.compile,
    )


if __name__ == "__main__":
    main()
