"""What is learnt, and how: relabeling, networks, optimizer; the critic's loss and search are in `critic.py`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from am_ray.settings.checked import Checked, bounded
from am_ray.settings.critic import CemSettings, CriticLossSettings
from am_ray.types import SettingsError


@dataclass(frozen=True)
class RelabelSettings(Checked):
    """Which transitions and goals are drawn (paper, Sec. 4)."""

    # Share of transitions with a random goal. The paper uses goal chaining but gives no ratio; half, as GoFAR's AM does.
    chaining_ratio: float = bounded(0.5, 0.0, 1.0)
    # Random goals come from episodes recorded at most this many before or after (ours); 0: from all, the paper. For data whose
    # consecutive episodes share a scene, as a robot's do: another scene's states cannot be reached, and nothing chains there.
    chaining_window: int = bounded(0, 0, None)
    # Instead of random goals, sub-sequences that go on in another episode of the window, one of the so many nearest to s_i, from
    # the state where it comes nearest (ours; states without images; docs/experiments_log.md). 0: random goals, the paper.
    chaining_neighbors: int = bounded(0, 0, 1024)
    # How far such a state may be: root mean square over the state's entries, in their standard deviations ...
    chaining_distance: float = bounded(0.5, 0.0, None)
    # ... or, where entries are listed, Euclidean over them in their own units, such as metres of positions. Indices into the
    # state; of several features, into all of them end to end in the order of their names.
    chaining_entries: tuple[int, ...] = ()
    # Share of these sub-sequences that begin where the episodes meet: from this one's last state, with what was done in the other one
    # (ours; docs/experiments_log.md, "Where the data hold still"). 0: no transition begins in a last state.
    junction_share: float = bounded(0.0, 0.0, 1.0)
    # Share of the random goals taken from what the transition's own episode was before (ours): the same objects, another
    # place. Only such goals show that a hand in the right place is no goal while the object is not; docs/experiments_log.md.
    past_share: float = bounded(0.0, 0.0, 1.0)
    # The paper: all sub-sequences, that is ends uniform over the rest of the trajectory.
    goal_sampling: Literal["uniform", "geometric"] = "uniform"
    # Ours: evaluation goals are last states of behaviour; a share of ends put there. 0 is the paper.
    last_state_share: float = bounded(0.0, 0.0, 1.0)
    # Ours: floor for positives, needed when episodes are long (uniform ends give H_T / T positives: 0.75 % at T = 1000).
    next_state_share: float = bounded(0.05, 0.0, 1.0)
    # Share of the transitions that make room for one that stays, as a batch is shown to the networks (ours): at s', with the goal s', it
    # does what led there, but these entries of the action, displacements, are 0. Data seldom begin where they are to end, so nothing else
    # says what to do once one is there: docs/RESULTS.md, "Staying at goals". Transitions of a downstream task never stay.
    stay_share: float = bounded(0.0, 0.0, 1.0)
    stay_entries: tuple[int, ...] = ()
    # Noise of every goal, staying or not (ours): normal, of a standard deviation drawn between 0 and this for each transition, in the
    # entries' own unit, such as metres. So a goal has surroundings: what has come near it has come.
    goal_jitter: float = bounded(0.0, 0.0, None)
    # Entries of the goal's state (of a goal that is a part of the state: of that part), such as positions.
    goal_jitter_entries: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last_state_share + self.next_state_share > 1.0:
            raise SettingsError(
                f"RelabelSettings: last_state_share + next_state_share is "
                f"{self.last_state_share + self.next_state_share:g}; expected at most 1. Lower one of them."
            )
        if self.chaining_neighbors and not self.chaining_window:
            raise SettingsError(
                f"RelabelSettings.chaining_neighbors: got {self.chaining_neighbors} with chaining_window 0; expected a window, for "
                f"like states are looked for among its episodes. Set chaining_window, such as 9."
            )
        if self.junction_share and not self.chaining_neighbors:
            raise SettingsError(
                f"RelabelSettings.junction_share: got {self.junction_share:g} with chaining_neighbors 0; expected links, for junctions are "
                f"where episodes meet. Set chaining_neighbors, such as 4, or junction_share: 0."
            )
        if self.stay_share and not self.stay_entries:
            raise SettingsError(
                f"RelabelSettings.stay_share: got {self.stay_share:g} without stay_entries; expected the entries of the action that move, for "
                f"they are 0 where one stays. Name them, such as [0, 1, 2], or set stay_share: 0."
            )
        if self.goal_jitter and not self.goal_jitter_entries:
            raise SettingsError(
                f"RelabelSettings.goal_jitter: got {self.goal_jitter:g} without goal_jitter_entries; expected entries of the goal's state "
                f"that it is added to. Name them, such as [0, 1, 2], or set goal_jitter: 0."
            )


@dataclass(frozen=True)
class ModelSettings(Checked):
    """Encoders and heads, shared by Actionable Models and the baselines."""

    # Width and depth of the fully connected trunk over (s, g).
    width: int = bounded(256, 1, 16384)
    depth: int = bounded(2, 1, 32)
    # Width and depth of the small head that scores one action given the encoded (s, g): what most of a wide one's update time
    # goes into (39 ms with 256, 15 with 128, 7 with 64, with 24 candidates). Learning per update: docs/performance.md,
    # "Learning per minute".
    head_width: int = bounded(64, 1, 16384)
    head_depth: int = bounded(2, 1, 32)
    layer_norm: bool = True
    # Whether the networks are shown g - s too, of vectors and images that are part of the goal (ours): what has to change
    # stands out.
    goal_difference: bool = True
    # Where a state lists objects: the first entry of the first object's slot, and the entries of each; empty: it is one flat
    # vector. Slots share one small network, and the trunk sees the maximum over them (PointNet; ours).
    entity_slots: tuple[int, ...] = ()
    # Width of that network.
    entity_width: int = bounded(64, 1, 16384)
    # Channels of the image encoder's stages (each halves the resolution); OGBench's impala_small uses 16, 32, 32.
    image_channels: tuple[int, ...] = (16, 32, 32)
    # Residual blocks of two convolutions in each stage (IMPALA); 0: one plain convolution.
    image_blocks: int = bounded(0, 0, 16)
    # Random shift of images in training, in pixels (DrQ: 4 at 84 px); 0 switches it off.
    image_shift: int = bounded(2, 0, 64)
    # Half of the transitions are seen in a mirror, which turns the sign of these entries of the action (the tray's: [1, 3], y
    # and yaw) ... For a camera that looks along the world's plane of symmetry; empty: no mirror. Ours.
    mirror_action: tuple[int, ...] = ()
    # ... and of these of the state, if there is one beside the image (the tray's: [1, 3], y and the sine of yaw).
    mirror_state: tuple[int, ...] = ()
    # `learned`: a proposal network (hindsight cloning) seeds CEM, targets and negatives. Close to an actor: off by default.
    proposal: Literal["none", "learned"] = "none"
    # What stands in for the goal in a downstream task: a learned `tensor` (the paper), or a learned `affine` map of the
    # state (ours; one-dimensional features only): one goal state cannot say "the box lifted, wherever it lies".
    task_goal: Literal["tensor", "affine"] = "affine"
    # Samples drawn from the proposal wherever candidates are made.
    proposal_samples: int = bounded(8, 1, 1024)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.entity_slots and not (
            len(self.entity_slots) == 2 and self.entity_slots[0] >= 0 and self.entity_slots[1] > 0
        ):
            raise SettingsError(
                f"ModelSettings.entity_slots: got {list(self.entity_slots)}; expected the first entry of the first slot and "
                f"the entries of each, such as [9, 10], or nothing. Correct the list."
            )


@dataclass(frozen=True)
class OptimizationSettings(Checked):
    """The optimizer and the two averaged copies of the weights."""

    learning_rate: float = bounded(5e-4, 0.0, 10.0)
    # Share of `training.updates`, at the end, over which the rate falls to 0 along half a cosine; 0: a constant rate. A run
    # that ends by the clock, or is gone on with for more updates, is measured by that number too.
    decay_share: float = bounded(0.0, 0.0, 1.0)
    # Batch of each learner.
    batch_size: int = bounded(256, 1, 1_000_000)
    # Clip on the global gradient norm; 0 switches it off.
    max_gradient_norm: float = bounded(10.0, 0.0, None)
    weight_decay: float = bounded(0.0, 0.0, 1.0)
    # Polyak rate of the target critic, per update.
    target_update_rate: float = bounded(0.005, 0.0, 1.0)
    # Polyak rate of the weights that act. On an early prototype raw weights jumped between 33 % and 75 % from one evaluation to the next.
    acting_average_rate: float = bounded(0.002, 0.0, 1.0)
    # What networks compute in while they learn (acting, weights, targets and losses are float32 always). `bfloat16` takes
    # half the time where the hardware has it (GPUs; CPUs with AVX512-BF16 or AMX) and more where it has not.
    precision: Literal["float32", "bfloat16"] = "float32"
    # Updates in a row that may be skipped for a non-finite value before training stops.
    max_skipped_updates: int = bounded(10, 1, None)


CloningAct = Literal["mode", "mean", "drawn"]


@dataclass(frozen=True)
class CloningSettings(Checked):
    """Goal-conditioned behaviour cloning: the baseline, on the same encoders and data."""

    # Components of the Gaussian mixture over the action (1: a single Gaussian).
    num_components: int = bounded(5, 1, 64)
    # Entries of the action that take two values (a gripper): Bernoulli, not Gaussian. Indices; negative ones count from the end.
    binary_entries: tuple[int, ...] = ()
    # Smallest standard deviation of a component, as a share of half the action range.
    min_std: float = bounded(0.02, 1e-6, 10.0)
    # What is done of p(a | s, g): its highest peak, or its mean, which averages over components that differ by noise alone
    # (better on the tray: docs/experiments_log.md; in a maze no difference was seen: docs/RESULTS.md) and is wrong between two ways around an
    # obstacle. `drawn`: its mean, but for the two-valued entries, which are drawn: where the data hesitate, the likelier value waits for ever.
    act: CloningAct = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.act == "drawn" and not self.binary_entries:
            raise SettingsError(
                "cloning.act: got drawn without cloning.binary_entries; expected two-valued entries to draw. Name them, such as [-1] for a "
                "gripper, or set cloning.act: mean."
            )


@dataclass(frozen=True)
class AlgorithmSettings:
    """What is learnt, and how."""

    # `task_critic` is downstream fine-tuning: the same critic, with a learned tensor in place of the goal (see TaskSettings).
    method: Literal["actionable_models", "behavior_cloning", "task_critic"] = "actionable_models"
    relabel: RelabelSettings = field(default_factory=RelabelSettings)
    critic: CriticLossSettings = field(default_factory=CriticLossSettings)
    cem: CemSettings = field(default_factory=CemSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    cloning: CloningSettings = field(default_factory=CloningSettings)

    def __post_init__(self) -> None:
        if self.method != "behavior_cloning" and self.model.proposal == "none":
            self._refuse_no_candidates()
        if self.method != "behavior_cloning" and self.critic.acting != "cem" and not self.critic.cloning_weight:
            raise SettingsError(
                f"critic.acting: got {self.critic.acting} with critic.cloning_weight = 0; expected an auxiliary cloning head to draw "
                f"actions from. Set critic.cloning_weight above 0, or critic.acting: cem."
            )
        if self.method != "behavior_cloning" and self.critic.negative_behavior and not self.critic.cloning_weight:
            raise SettingsError(
                f"critic.negative_behavior: got {self.critic.negative_behavior} with critic.cloning_weight = 0; expected a weight of the loss of the "
                f"head that they are drawn from. Set critic.cloning_weight above 0, or critic.negative_behavior: 0."
            )
        if (
            self.method != "behavior_cloning"
            and self.critic.acting.endswith("drawn")
            and not self.cloning.binary_entries
        ):
            raise SettingsError(
                f"critic.acting: got {self.critic.acting} without cloning.binary_entries; expected two-valued entries to draw. Name them, such as [-1] for a "
                "gripper, or set critic.acting: likely."
            )
        if self.critic.negative_behavior and self.relabel.stay_share:
            raise SettingsError(
                f"critic.negative_behavior: got {self.critic.negative_behavior} with relabel.stay_share = {self.relabel.stay_share:g}; expected one of "
                f"them alone, for negatives of the behaviour are what the data do, and data do not stay. Set either to 0."
            )
        if self.critic.binary_uniform and not self.cloning.binary_entries:
            raise SettingsError(
                "critic.binary_uniform: got true without cloning.binary_entries; expected two-valued entries. Name them, such as [-1] for a "
                "gripper, or set critic.binary_uniform: false."
            )

    @property
    def binary_uniform_entries(self) -> tuple[int, ...]:
        """Entries in which uniform actions take two values."""
        return self.cloning.binary_entries if self.critic.binary_uniform else ()

    def _refuse_no_candidates(self) -> None:
        critic, remedy = self.critic, "Raise one of them, or set model.proposal: learned"
        if critic.bootstrap and not (critic.target_uniform or critic.target_data or critic.target_next_action):
            raise SettingsError(
                f"critic: got target_uniform = target_data = 0 and target_next_action = false; expected at least one "
                f"candidate for the target's max. {remedy}."
            )
        sources = (
            critic.negative_uniform,
            critic.negative_data,
            critic.negative_perturbed,
            critic.negative_behavior,
        )
        if critic.negative_ratio and not any(sources):
            raise SettingsError(
                f"critic: got negative_uniform = negative_data = negative_perturbed = negative_behavior = 0 with negative_ratio = "
                f"{critic.negative_ratio:g}; expected at least one candidate to draw negatives from. {remedy}, or set "
                f"negative_ratio: 0 to train without negatives."
            )

    @property
    def drawn_goals(self) -> RelabelSettings:
        """What the data path draws: cloning learns from goals that were reached, so its batches hold no random ones."""
        if self.method == "behavior_cloning":
            linked = self.relabel.chaining_ratio if self.relabel.chaining_neighbors else 0.0
            return dataclasses.replace(self.relabel, chaining_ratio=linked, past_share=0.0)
        return self.relabel
