"""Weights as plain arrays: into a network, and the part of them that acts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from am_ray.types import CheckpointError

# Averaged copy -> what it is the average of, or another copy: left out of a checkpoint of acting weights alone.
_COPIES = {
    "acting_critic.": ("critic.", "target_critic."),
    "acting_network.": ("network.",),
    "acting_proposal.": ("proposal.",),
    "acting_cloning_head.": ("cloning_head.",),
}
# Heads that learn by an auxiliary loss; the average of the first acts if the settings say so.
_AUXILIARY = ("cloning_head.", "behavior_head.")
# Buffers of `TaskGoal`; a fresh network has no turns.
_TURN = "_turn_"
_AUXILIARY_PARTS = (*_AUXILIARY, "acting_cloning_head.")


def acting_weights(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights that act, a third of all: a checkpoint of them acts alike, and is a start for fine-tuning.

    `read_checkpoint` gives the networks that learn, and the target's, these weights too.
    """
    copies = tuple(prefix for prefixes in _COPIES.values() for prefix in prefixes)
    return {name: value for name, value in weights.items() if not name.startswith((*copies, *_AUXILIARY))}


def with_copies(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `acting_weights`; whole weights stay as they are."""
    copied = {
        prefix + name.removeprefix(averaged): value
        for averaged, prefixes in _COPIES.items()
        for name, value in weights.items()
        if name.startswith(averaged)
        for prefix in prefixes
    }
    return copied | weights


def load_weights(model: nn.Module, weights: Mapping[str, np.ndarray], *, where: str) -> None:
    """Copies the weights into the model; every key and shape must agree, for a partial load would pass silently.

    A head of an auxiliary loss may be on either side alone: the model keeps its own, or does without. Weights of a downstream task from before
    its goal could turn have no turns: the model has none either.

    Raises:
        CheckpointError: A key is missing, left over or of another shape.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    weights = {name: value for name, value in weights.items() if name in own or not name.startswith(_AUXILIARY_PARTS)}
    kept = {
        name: value
        for name, value in model.state_dict().items()
        if name not in weights and (name.startswith(_AUXILIARY) or _TURN in name)
    }
    found = {name: value.shape for name, value in weights.items()} | {n: tuple(x.shape) for n, x in kept.items()}
    wrong = [
        f"{name} is {found.get(name, 'missing')}, expected {own.get(name, 'none')}"
        for name in sorted(own.keys() | found.keys())
        if own.get(name) != found.get(name)
    ]
    if wrong:
        raise CheckpointError(
            f"{where}: {len(wrong)} of {len(own)} weights do not fit the network of these settings: {'; '.join(wrong[:3])}. "
            f"Use the model settings (width, depth, ...) and the data that the checkpoint was made with."
        )
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()} | kept)
