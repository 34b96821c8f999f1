"""What Q says of the data's actions, of uniform ones, and of the action that a policy takes.

python -m study.action_values CHECKPOINT ... --dataset DIR [--acting cem] [--goals 512] [--seed 9]

Of hindsight goals: a Q that is high for uniform actions, too, has learnt nothing of actions; one that is low for them and yet leads elsewhere
than the data was not told what is wrong among actions that are like the data's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from am_ray.core.negatives import uniform_actions
from am_ray.data.ingest import open_ingest
from am_ray.models.actionable_model import ActionableModel
from am_ray.models.checkpoint import load_policy
from am_ray.settings import Acting, IngestSettings, RelabelSettings
from am_ray.types import AmRayError, SettingsError, TransitionBatch

_UNIFORM = 2_000
# The same for all checkpoints, so that they compare: ends uniform over the rest of the own episode.
_GOALS = RelabelSettings(chaining_ratio=0.0, last_state_share=0.0, next_state_share=0.0)


@dataclass(frozen=True)
class ActionValues:
    """Means over goals.

    Attributes:
        achieved: discount^(steps left - 1), what the data achieved.
        q_data: Q of the data's action, in [0, 1], ...
        q_uniform: ... of uniform actions of the box, ...
        q_taken: ... and of the action that the policy takes.
        above_data: Share of the uniform actions with a higher Q than the data's.
        distances: |taken - data|, of each entry, in [-1, 1]^a.
        same_sign: Share of the goals in which the entry of the action taken has the data's sign; of each entry.
    """

    achieved: float
    q_data: float
    q_uniform: float
    q_taken: float
    above_data: float
    distances: list[float]
    same_sign: list[float]


@torch.no_grad()
def action_values(
    checkpoint: str, dataset: str, *, goals: int, seed: int, acting: Acting | None = None
) -> ActionValues:
    """Of ``goals`` transitions of a dataset with goals of their own episode; ``acting`` as `load_policy`'s.

    Raises:
        SettingsError: The checkpoint has no Q of goals, or cannot act so.
        CheckpointError, DatasetError: One of them cannot be read, or does not fit the other.
    """
    policy = load_policy(checkpoint, acting=acting)
    model = policy.model
    if not isinstance(model, ActionableModel) or model.has_task:
        raise SettingsError(
            f"{checkpoint}: got {model.settings.method}; expected actionable_models, for others have no Q of goals. Name another checkpoint."
        )
    source = open_ingest(dataset, policy.spec, _GOALS, IngestSettings(), batch_size=goals, seed=seed)[0]
    batch = TransitionBatch.from_columns(next(source.batches()))
    observation, goal = ({k: torch.from_numpy(v) for k, v in part.items()} for part in (batch.observation, batch.goal))
    generator = torch.Generator().manual_seed(seed)
    critic, data = model.acting_critic, model.action_scale.to_unit(torch.from_numpy(batch.action))
    features = critic.encode(observation, goal)
    uniform = uniform_actions(goals, _UNIFORM, data.shape[1], generator=generator, device=data.device)
    of_data, of_uniform = critic.score(features, data.unsqueeze(1)), critic.score(features, uniform)
    taken = model.best_action(observation, goal, generator=generator)
    return ActionValues(
        achieved=float((model.settings.critic.discount ** (batch.num_steps - 1.0)).mean()),
        q_data=torch.sigmoid(of_data).mean().item(),
        q_uniform=torch.sigmoid(of_uniform).mean().item(),
        q_taken=taken.score.mean().item(),
        above_data=(of_uniform > of_data).float().mean().item(),
        distances=(taken.action - data).abs().mean(dim=0).tolist(),
        same_sign=(taken.action.sign() == data.sign()).float().mean(dim=0).tolist(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m study.action_values``."""
    parser = argparse.ArgumentParser(prog="python -m study.action_values", description=__doc__)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--dataset", required=True, help="that it was trained with, or one like it")
    parser.add_argument("--acting", choices=get_args(Acting), help="in place of what the checkpoint's settings say")
    parser.add_argument("--goals", type=int, default=512, help="at least 1")
    parser.add_argument("--seed", type=int, default=9)
    given = parser.parse_args(arguments)
    if given.goals < 1:
        parser.error(f"--goals: got {given.goals}; expected at least 1")
    for checkpoint in given.checkpoints:
        try:
            found = action_values(checkpoint, given.dataset, goals=given.goals, seed=given.seed, acting=given.acting)
        except AmRayError as error:
            parser.error(str(error))
        print(f"{checkpoint}: the data achieved {found.achieved:.2f}")
        print(
            f"  Q of the data's action {found.q_data:.2f}, of uniform ones {found.q_uniform:.3f}, of the action taken {found.q_taken:.2f}"
        )
        print(f"  uniform actions with a higher Q than the data's: {100 * found.above_data:.2f} %")
        print(f"  |taken - data|, entry by entry: {' '.join(f'{x:.2f}' for x in found.distances)}")
        print(f"  of one sign, entry by entry:    {' '.join(f'{100 * x:.0f} %' for x in found.same_sign)}")


if __name__ == "__main__":
    main()
