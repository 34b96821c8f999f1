"""One gradient step after another: unpack, forward, one backward, step if finite, move the averages, count."""

from __future__ import annotations

import hashlib
import logging
import struct
import warnings
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from torch import Tensor

from am_ray.algorithm.rl_module import GENERATOR, LOSS, METRICS, TRANSITIONS
from am_ray.core.schedule import decayed_rate
from am_ray.core.updates import step_if_finite
from am_ray.data.pipeline_threads import join_pipeline_threads
from am_ray.memory_reuse import reuse_freed_memory
from am_ray.models.checkpoint import TrainingState
from am_ray.models.precision import EMULATED, is_emulated
from am_ray.models.weights import load_weights
from am_ray.settings import OptimizationSettings
from am_ray.types import AmRayError, CheckpointError, SettingsError, TransitionBatch

logger = logging.getLogger(__name__)

# Metrics are sampled on every k-th update, to keep them cheap; a shorter iteration gives its last one.
METRICS_STRIDE = 10
_COUNTERS = "update_counters"


class NonFiniteTrainingError(AmRayError):
    """Too many updates in a row had to be skipped for a NaN or an infinity."""


class ObjectiveLearner(TorchLearner):
    """Trains an `ObjectiveModule`.

    RLlib's own `update` loop wraps batches and logs metrics at every step, moves target networks once per call, and
    steps with NaN gradients; so `update` is replaced. Where the data and the generators stand is a function of
    (seed, learner, update): the update counter is all there is to save.
    """

    # RLlib annotates these as optional, or as its base classes.
    config: Any
    _module: Any
    _device: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._num_updates = 0
        self._skipped = 0
        self._skipped_in_a_row = 0
        self._sampled: list[Tensor] = []
        self._source: Any = None
        self._batches: Generator[Mapping[str, Any]] | None = None

    def build(self) -> None:
        if self.config.num_gpus_per_learner and not torch.cuda.is_available():
            raise SettingsError(
                f"resources.num_gpus_per_learner: got {self.config.num_gpus_per_learner:g}; torch sees no GPU on "
                f"{self._node}. Set it to 0, or install a torch built for the GPU."
            )
        # One thread per CPU that was asked for: sums do not depend on the machine, and workers are not starved.
        cpus = self.config.num_cpus_per_learner
        torch.set_num_threads(max(1, int(cpus)) if isinstance(cpus, int | float) else 1)
        reuse_freed_memory()
        super().build()
        if is_emulated(self._settings.precision, self._device):
            logger.warning(EMULATED)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        # Looked up once: these are used at every update.
        self._settings: OptimizationSettings = self.config.algorithm_settings().optimization
        self._objective: Any = self._module[module_id].objective
        self._parameters: list[torch.nn.Parameter] = self._objective.trainable_parameters()
        self._generator = torch.Generator(device=self._device)
        rate, decay = self._settings.learning_rate, self._settings.weight_decay
        self._optimizer = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=decay, fused=True)
        self.register_optimizer(
            module_id=module_id, optimizer=self._optimizer, params=self._parameters, lr_or_lr_schedule=rate
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """RLlib restores the learning rate of the checkpoint; the settings' must count from the first update on."""
        super().before_gradient_based_update(timesteps=timesteps)
        self._set_optimizer_lr(self._optimizer, lr=self._learning_rate())

    def _learning_rate(self) -> float:
        """Of the next update: a function of the counter, so that a resumed run goes on as if it had never stopped."""
        rate, share = self._settings.learning_rate, self._settings.decay_share
        return decayed_rate(rate, update=self._num_updates, updates=self.config.max_updates, decay_share=share)

    def update(  # type: ignore[override]
        self,
        *,
        training_data: TrainingData,
        num_iters: int,
        log: bool = True,
        timesteps: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """``num_iters`` gradient steps on the source that ``training_data`` carries.

        Args:
            training_data: Holds the source; only the first call's counts.
            num_iters: Updates to do.
            log: Whether to return metrics: means over all updates sampled since they were last returned.
            timesteps: RLlib's counters, for its schedules.
            **kwargs: What else RLlib passes to its own learners.
        """
        self.before_gradient_based_update(timesteps=timesteps or {})
        self._weights_seq_no += 1
        if self._source is None:
            sources: Any = training_data.data_iterators
            self._source = sources[0]
        if self._batches is None:
            self._batches = self._source.batches(self._num_updates)
        for number in range(1, num_iters + 1):
            values = self._uncompiled_update(next(self._batches))
            # Counted from update 0, so that the metrics do not depend on how an iteration is cut into calls.
            if self._num_updates % METRICS_STRIDE == 0 or (log and number == num_iters and not self._sampled):
                self._sampled.append(torch.stack(list(values.values())))
        if log:
            means = torch.stack(self._sampled).nanmean(dim=0).tolist()
            self._sampled.clear()
            self._log(dict(zip(values, means, strict=True)))
        self.after_gradient_based_update(timesteps=timesteps or {})
        result: dict[str, Any] = self.metrics.reduce()
        return result

    def _uncompiled_update(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """One gradient step, or none if anything is not finite."""
        module = self._module[DEFAULT_MODULE_ID]
        seed = update_seed(self.config.seed or 0, self._learner_index, self._num_updates)
        transitions = TransitionBatch.from_columns(to_device(batch, self._device))
        if self._settings.decay_share:
            self._set_optimizer_lr(self._optimizer, lr=self._learning_rate())
        out = module.forward_train({TRANSITIONS: transitions, GENERATOR: self._generator.manual_seed(seed)})
        self._optimizer.zero_grad(set_to_none=True)
        out[LOSS].backward()
        step = step_if_finite(self._optimizer, self._parameters, max_gradient_norm=self._settings.max_gradient_norm)
        self._num_updates += 1
        if step.stepped:
            self._objective.update_averages()
            self._skipped_in_a_row = 0
        else:
            self._count_skipped()
        metrics: dict[str, Tensor] = out[METRICS]
        return metrics | {"train/loss": out[LOSS].detach(), "train/gradient_norm": step.gradient_norm.detach()}

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: dict[str, Any]) -> Tensor:
        """RLlib demands it; the loss was computed in the forward pass."""
        loss: Tensor = fwd_out[LOSS]
        return loss

    def _count_skipped(self) -> None:
        self._skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= self._settings.max_skipped_updates:
            raise NonFiniteTrainingError(
                f"update {self._num_updates}: the loss or its gradient was NaN or infinite {self._skipped_in_a_row} "
                f"updates in a row; expected finite numbers. Lower optimization.learning_rate, or check the data with "
                f"'am-ray dataset validate --deep'."
            )

    def _log(self, values: dict[str, float]) -> None:
        values |= {
            "train/skipped_updates": float(self._skipped),
            "train/learning_rate": self._optimizer.param_groups[0]["lr"],
        }
        for name, value in values.items():
            self.metrics.log_value(tuple(name.split("/", 1)), value, window=1)

    def shutdown(self) -> None:
        self._close_batches()
        super().shutdown()

    def training_state(self) -> TrainingState:
        """A copy of everything that a resumed run needs."""
        weights = {name: value.cpu().numpy().copy() for name, value in self._objective.state_dict().items()}
        state = self._optimizer.state_dict()["state"]
        optimizer = {f"{i}.{name}": t.cpu().numpy().copy() for i, entry in state.items() for name, t in entry.items()}
        return TrainingState(weights, optimizer, self._num_updates, self._skipped, self._skipped_in_a_row)

    def load_training_state(self, state: TrainingState, where: str) -> None:
        """The inverse; the data continue where they were.

        Raises:
            CheckpointError: The state does not fit this network or optimizer.
        """
        load_weights(self._objective, state.weights, where=where)
        self._load_optimizer(state.optimizer, where)
        self._set_counters((state.update, state.skipped_updates, state.skipped_in_a_row))

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state(*args, **kwargs)
        return state | {_COUNTERS: (self._num_updates, self._skipped, self._skipped_in_a_row)}

    def set_state(self, state: dict[str, Any]) -> None:
        """RLlib keeps newer weights when a live learner is rolled back; here the given state always wins."""
        self._weights_seq_no = 0
        super().set_state(state)
        if _COUNTERS in state:
            self._set_counters(state[_COUNTERS])

    def _set_counters(self, counters: tuple[int, int, int]) -> None:
        self._num_updates, self._skipped, self._skipped_in_a_row = counters
        self._sampled.clear()
        self._close_batches()

    def _close_batches(self) -> None:
        """Ends the stream now: a Ray Data pipeline left to the garbage collector outlives Ray and starts it anew."""
        if self._batches is not None:
            self._batches.close()
            join_pipeline_threads()
        self._batches = None

    def _load_optimizer(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        parameters = self._parameters
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in arrays.items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = torch.from_numpy(np.array(value))
        fits = sorted(entries) in ([], list(range(len(parameters)))) and all(
            value.shape in ((), parameters[i].shape) for i, entry in entries.items() for value in entry.values()
        )
        if not fits:
            raise CheckpointError(
                f"{where}: the optimizer's state is for {len(entries)} parameters; the network has {len(parameters)}, or "
                f"their shapes differ. Use the settings that the checkpoint was made with."
            )
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": entries, "param_groups": groups})


def update_seed(seed: int, learner: int, update: int) -> int:
    """The seed of one update's generator: resuming needs no generator state, and learners draw differently."""
    digest = hashlib.blake2b(struct.pack("<qqq", seed, learner, update), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def to_device(columns: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Nested columns of arrays as tensors on ``device``; images travel as bytes."""
    return {
        name: to_device(value, device) if isinstance(value, Mapping) else _to_tensor(value, device)
        for name, value in columns.items()
    }


def _to_tensor(array: np.ndarray, device: Any) -> Tensor:
    # What streams lies read-only in the object store. Nothing writes into a batch, so no copy is needed.
    return torch.from_numpy(array).to(device, non_blocking=True)


def _accept_read_only_arrays() -> None:
    """Torch warns of them, once per process: here, and nowhere else."""
    array = np.zeros(1)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(array)


_accept_read_only_arrays()
