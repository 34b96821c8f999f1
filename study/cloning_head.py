"""The head of the auxiliary cloning loss, fitted again on a trained encoder that stays as it is.

python -m study.cloning_head CHECKPOINT --data PACKED --out DIR [--pairs 400000] [--passes 20] [--seed 0]

A checkpoint of the weights that act (`study.ship`) has no such head if it acted by CEM, and all other ways of acting need one. The encoder has learnt what
cloning needs, so the head is a small network on its output: every pair (s, g) is encoded once, as the networks are shown it in training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from am_ray.core.behavior_cloning import cloning_loss
from am_ray.core.targets import leads_to_goal
from am_ray.models.actionable_model import ActionableModel
from am_ray.models.augmentation import Augmentation
from am_ray.models.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, write_checkpoint
from am_ray.models.policy import build_model
from am_ray.models.weights import load_weights
from am_ray.types import DatasetError, SettingsError
from study import gpu_training
from study.gpu_training import DeviceReplay, check_trainable
from study.packed import Packed, unpack

_BATCH = 1024
_LEARNING_RATE = 1e-3


def fit_cloning_head(
    model: ActionableModel, packed: Packed, *, pairs: int, passes: int, seed: int
) -> tuple[float, float]:
    """Fits ``model.cloning_head`` and its average, which are the same afterwards.

    Args:
        model: With ``critic.acting: likely``.
        packed: What it was trained with; the last episodes are kept out.
        pairs: Of state and goal that are drawn; those of random goals are left out.
        passes: Over them.
        seed: Of pairs, shifts, mirrors and their order.

    Returns:
        -log p(a | s, g) of the pairs it was fitted to, over the last pass, and of pairs of episodes kept out, at the end.
    """
    rng, generator = np.random.default_rng([seed, 2]), torch.Generator().manual_seed(seed)
    head, averaged = model.cloning_head, model.acting_cloning_head
    assert head is not None and averaged is not None
    encoded, action = _encoded(model, packed, slice(None, -gpu_training.HELD_OUT), pairs, rng, generator)
    held_out = _encoded(model, packed, slice(-gpu_training.HELD_OUT, None), pairs // 20, rng, generator)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE)
    schedule = OneCycleLR(optimizer, _LEARNING_RATE, total_steps=passes * -(-len(encoded) // _BATCH))

    def loss(features: Tensor, actions: Tensor) -> Tensor:
        return cloning_loss(head.density(features), *head.split(actions), torch.ones(len(features)))

    last = 0.0
    for _ in range(passes):
        total = 0.0
        for rows in torch.split(torch.randperm(len(encoded), generator=generator), _BATCH):
            value = loss(encoded[rows], action[rows])
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            schedule.step()
            total += value.item() * len(rows)
        last = total / len(encoded)
    averaged.load_state_dict(head.state_dict())
    with torch.no_grad():
        return last, loss(*held_out).item()


@torch.no_grad()
def _encoded(
    model: ActionableModel,
    packed: Packed,
    episodes: slice,
    pairs: int,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """What the encoder that acts makes of hindsight pairs (n, width), and their actions (n, a) in [-1, 1]."""
    replay = DeviceReplay(packed, model.settings, torch.device("cpu"))
    augmentation = Augmentation(packed.spec, model.settings)
    features, actions = [], []
    for indices in islice(replay.draws(episodes, rng), -(-pairs // model.settings.optimization.batch_size)):
        batch = augmentation(replay.batch(indices), generator)
        leads = leads_to_goal(batch.source)
        encoded = model.acting_critic.encoder(batch.observation, batch.goal)
        features.append(encoded[leads])
        actions.append(model.action_scale.to_unit(batch.action)[leads])
    return torch.cat(features), torch.cat(actions)


def _check_fits(where: str, checkpoint: Checkpoint, packed: Packed, data: str) -> None:
    settings = checkpoint.settings
    if settings.method != "actionable_models" or not settings.critic.cloning_weight:
        raise SettingsError(
            f"{where}: got {settings.method} with critic.cloning_weight {settings.critic.cloning_weight}; expected "
            f"actionable_models trained with the auxiliary loss, whose encoder knows the data's actions. Train one with cloning_weight 0.1."
        )
    if packed.spec != checkpoint.spec:
        raise DatasetError(
            f"{data}: got data of {packed.spec.to_json()}; expected those of {where}, {checkpoint.spec.to_json()}. Pack the data it was trained with."
        )
    check_trainable(packed, settings)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m study.cloning_head", description="Gives a checkpoint a head of likely actions."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or a checkpoint")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="of python -m study.packed: what it was trained with, in as many parts",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the checkpoint to write; study.ship makes it small"
    )
    parser.add_argument("--pairs", type=int, default=400_000)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    checkpoint = read_checkpoint(find_checkpoint(args.checkpoint))
    packed = unpack(args.data)
    _check_fits(args.checkpoint, checkpoint, packed, args.data)
    settings = replace(checkpoint.settings, critic=replace(checkpoint.settings.critic, acting="likely"))
    torch.manual_seed(args.seed)
    model = build_model(checkpoint.spec, checkpoint.statistics, settings)
    assert isinstance(model, ActionableModel)
    trained = build_model(checkpoint.spec, checkpoint.statistics, checkpoint.settings)
    load_weights(trained, checkpoint.state.weights, where=args.checkpoint)
    model.load_state_dict(trained.state_dict(), strict=False)  # all but the average of the head
    fitted, held_out = fit_cloning_head(model, packed, pairs=args.pairs, passes=args.passes, seed=args.seed)
    print(f"-log p(a | s, g): {fitted:.3f} fitted, {held_out:.3f} held out")
    weights = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state = replace(checkpoint.state, weights=weights, optimizer={})
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(out, replace(checkpoint, settings=settings, state=state))


if __name__ == "__main__":
    main()
