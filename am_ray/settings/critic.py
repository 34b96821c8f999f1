"""The critic: its targets and negatives, and the search that acts by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from am_ray.settings.checked import Checked, bounded
from am_ray.types import SettingsError

Acting = Literal["cem", "likely", "drawn", "cloned", "cloned_drawn"]


@dataclass(frozen=True)
class CriticLossSettings(Checked):
    """The critic's loss: targets and negatives (paper, Sec. 4, Eq. for the critic; QT-Opt for the network)."""

    # QT-Opt trains its sigmoid output with cross-entropy; the paper's equation is a squared error.
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    # The paper gives none; QT-Opt 0.9, Q-Transformer 0.98. Tie it to the horizon: 0.98^40 = 0.45 still carries a signal.
    discount: float = bounded(0.98, 0.0, 0.9999)
    # How a random goal's value enters; see docs/paper_map.md.
    chained_end: Literal["bootstrap", "end_value", "self"] = "bootstrap"
    # Q-Transformer: targets of hindsight goals are at least discount^(steps left), a value the data achieved.
    monte_carlo_bound: bool = True
    # Off: targets are discount^(steps left), for a linked goal the steps of both pieces, and 0 for random goals and failures: a control without
    # dynamic programming; ours. Next observations are read all the same.
    bootstrap: bool = True
    # Expected number of negatives per transition, losses summed; 0 switches negatives off. The paper: one.
    negative_ratio: float = bounded(1.0, 0.0, 64.0)
    # Weight of the negatives' loss against the Bellman loss. The paper: 1.
    negative_weight: float = bounded(1.0, 0.0, None)
    # Negatives are drawn ~ exp(score / temperature) over the candidates ...
    negative_temperature: float = bounded(1.0, 1e-6, None)
    # ... where the score is the logit (ours: exp of a Q in [0, 1] is nearly flat) or Q itself (the paper's letter).
    negative_score: Literal["logit", "probability"] = "logit"
    # `expected` takes the expectation over the candidates instead of draws: the same loss without the noise of drawing, for a
    # backward pass through all of them (ours; docs/experiments_log.md).
    negative_estimator: Literal["sampled", "expected"] = "sampled"
    # Draws that stand for these negatives, each of weight negative_ratio / negative_draws: the same loss with less noise, for
    # a backward pass through each (ours; `sampled` only). 0: one draw for each negative.
    negative_draws: int = bounded(8, 0, 1024)
    # Candidates per transition, by source: uniform in the action box (the paper's reading) ...
    negative_uniform: int = bounded(48, 0, 1024)
    # ... actions of other transitions in the batch (ours: plausible but wrong here) ...
    negative_data: int = bounded(48, 0, 1024)
    # ... and the transition's own action, perturbed (ours). Off: near negatives teach the noise of the data's actions, and cost
    # 12 to 28 points of rearrangement (one seed; docs/experiments_log.md).
    negative_perturbed: int = bounded(0, 0, 1024)
    # ... and draws of b(a | s), what the data do in s whatever came of it, by a head on the critic's encoder that learns beside it with
    # `cloning_weight` (ours; `am_ray.core.negatives`): Q then ranks the data's actions by whether they lead to g, not by how common they are.
    negative_behavior: int = bounded(0, 0, 1024)
    # Weight of behaviour cloning (settings: `cloning`) as an auxiliary loss on the critic's encoder; ours. Which action led to
    # the goal teaches the encoder of images faster than the critic's own loss does. It has a part in acting unless `acting` is `cem`. The
    # behaviour's loss (`negative_behavior`) has this weight, too.
    cloning_weight: float = bounded(0.0, 0.0, None)
    # How the critic acts. `cem`: argmax_a Q over the whole box (the paper). `likely`: the mean of the best quarter, by Q, of actions
    # drawn from the auxiliary cloning head (ours; needs `cloning_weight`): Q chooses among what the data would do. `drawn`: so, too, but
    # for `cloning.binary_entries` (a gripper), which are as the head draws them, unless Q halves by it: where data hesitate, Q waits for
    # ever. `cloned`: the mean of that head's density, without Q: a control; `cloned_drawn`: so, too, but for the drawn gripper. `am-ray evaluate --acting` compares them with the same weights.
    acting: Acting = "cem"
    # Actions drawn for each that is taken; `likely` and `drawn` alone.
    likely_samples: int = bounded(32, 4, 65536)
    # Standard deviation of that perturbation, as a share of half the action range.
    perturbation_std: float = bounded(0.3, 0.0, 10.0)
    # Share of perturbed candidates in which one entry is mirrored in the middle of its range (a gripper that opens
    # where it closed); ours.
    perturbation_flip: float = bounded(0.3, 0.0, 1.0)
    # Whether the last state of an episode, bootstrapped through but trained on by junctions alone, gets negatives too; ours.
    final_state_negatives: bool = False
    # Candidates in the target's max: uniform, and actions of other transitions; the data's next action if wanted.
    target_uniform: int = bounded(4, 0, 1024)
    target_data: int = bounded(4, 0, 1024)
    target_next_action: bool = True
    # Whether uniform candidates, and those that CEM begins with, take one of two values in `cloning.binary_entries` (a gripper's commands, as
    # QT-Opt's). Off: they fill the box, and say nothing of these values, which the data's actions have and they do not.
    binary_uniform: bool = False
    # CEM refinements of the best target candidate; 0 takes the best candidate as it is.
    target_cem_iterations: int = bounded(0, 0, 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bootstrap and not (self.monte_carlo_bound and self.chained_end == "bootstrap"):
            raise SettingsError(
                f"critic.bootstrap: got false with monte_carlo_bound {str(self.monte_carlo_bound).lower()} and chained_end {self.chained_end}; "
                f"expected monte_carlo_bound true and chained_end bootstrap: without them no target is left, or one that bootstraps. Set both, "
                f"or critic.bootstrap: true."
            )


@dataclass(frozen=True)
class CemSettings(Checked):
    """The cross-entropy method that acts: argmax_a Q(s, a, g).

    QT-Opt takes 64 samples, 2-3 iterations and 6-10 elites. Negatives leave narrow peaks, which so small a search
    misses: the same critic reached 61 % of 64 grasping goals with (64, 3, 6) and 92 % with (256, 4, 10). (s, g) is
    encoded once, so the larger search costs about 2 ms of CPU per action.
    """

    num_samples: int = bounded(256, 2, 65536)
    num_iterations: int = bounded(4, 1, 100)
    num_elites: int = bounded(10, 1, 65536)
    # Share of the first iteration's samples drawn from actions of the dataset (ours: narrow peaks are missed otherwise).
    data_share: float = bounded(0.5, 0.0, 1.0)
    # Smallest standard deviation of the refits, as a share of half the action range.
    min_std: float = bounded(0.02, 0.0, 10.0)
