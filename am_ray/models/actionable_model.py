"""Actionable Models: a goal-conditioned critic, trained by Bellman targets and contrastive negatives (paper, Sec. 4).

With ``method: task_critic`` it is Q_task(s, a), the downstream critic: the same network and loss, a learned tensor in place
of the goal where the transition is of the task (`am_ray.core.labels`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

import torch
from torch import Tensor, nn

from am_ray.core.behavior_cloning import ActionDensity, cloning_loss
from am_ray.core.cem import BestAction
from am_ray.core.ema import polyak_update
from am_ray.core.losses import Divergence, critic_loss
from am_ray.core.negatives import draw_negatives, expected_weights, negative_weights
from am_ray.core.targets import is_of_task, leads_to_goal
from am_ray.models.acting import cloned, likely, searched
from am_ray.models.action_density import ActionDensityHead, ActionDensityNetwork
from am_ray.models.augmentation import Augmentation
from am_ray.models.candidates import drawn_actions, negative_candidates
from am_ray.models.critic import Critic
from am_ray.models.critic_metrics import critic_metrics
from am_ray.models.critic_target import CriticTarget, achieved_target, bootstrapped_target
from am_ray.models.encoders import Observation
from am_ray.models.objective import ActionScale, LossResult, frozen_copy
from am_ray.models.task_goal import with_task
from am_ray.settings import Acting, AlgorithmSettings, CloningAct
from am_ray.types import DataSpec, DataStatistics, SettingsError, TransitionBatch


class ActionableModel(nn.Module):
    """The critic, its two averaged copies, and the loss.

    ``critic`` learns; ``target_critic`` gives the targets; ``acting_critic`` acts. Equal rates share one copy.
    """

    action_pool: Tensor

    def __init__(self, spec: DataSpec, statistics: DataStatistics, settings: AlgorithmSettings) -> None:
        super().__init__()
        self.settings = settings
        self.spec = spec
        self.action_scale = ActionScale(spec)
        self._augmentation = Augmentation(spec, settings)
        self.has_task = settings.method == "task_critic"
        self.critic = Critic(spec, statistics, settings.model, has_task=self.has_task)
        self.target_critic: Critic = frozen_copy(self.critic)
        rates = settings.optimization
        self.shares_average = rates.target_update_rate == rates.acting_average_rate
        self.acting_critic: Critic = self.target_critic if self.shares_average else frozen_copy(self.critic)
        self.proposal: ActionDensityNetwork | None = None
        if settings.model.proposal == "learned":
            self.proposal = ActionDensityNetwork(
                spec, statistics, settings.model, settings.cloning, has_task=self.has_task
            )
        self.acting_proposal: ActionDensityNetwork | None = frozen_copy(self.proposal)
        self.cloning_head: ActionDensityHead | None = None
        if settings.critic.cloning_weight:
            self.cloning_head = ActionDensityHead(spec, settings.model, settings.cloning)
        self.behavior_head: ActionDensityHead | None = None
        if settings.critic.negative_behavior and settings.critic.negative_ratio:
            self.behavior_head = ActionDensityHead(spec, settings.model, settings.cloning)
        self.acting: Acting = settings.critic.acting
        by_head = settings.critic.acting != "cem"
        self.acting_cloning_head: ActionDensityHead | None = frozen_copy(self.cloning_head) if by_head else None
        pool = self.action_scale.to_unit(torch.from_numpy(statistics.action_pool).float())
        self.register_buffer("action_pool", pool)

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def update_averages(self) -> None:
        rates, online = self.settings.optimization, list(self.critic.parameters())
        polyak_update(list(self.target_critic.parameters()), online, rate=rates.target_update_rate)
        if not self.shares_average:
            polyak_update(list(self.acting_critic.parameters()), online, rate=rates.acting_average_rate)
        heads = ((self.acting_proposal, self.proposal), (self.acting_cloning_head, self.cloning_head))
        for acting, learning in heads:
            if acting is not None and learning is not None:
                averaged, online = list(acting.parameters()), list(learning.parameters())
                polyak_update(averaged, online, rate=rates.acting_average_rate)

    def loss(self, batch: TransitionBatch[Tensor], *, generator: torch.Generator) -> LossResult:
        """critic_loss = D(Q(s, a, g), y) + negative_weight * D(Q(s, a~, g), 0), plus the cloning losses if there are any."""
        config = self.settings.critic
        batch = self._prepared(batch, generator)
        target = self._target(batch, generator)

        encoded = self.critic.encoder(batch.observation, batch.goal)
        features = self.critic.project(encoded)
        logits = self.critic.score(features, batch.action.unsqueeze(1)).squeeze(1)
        behavior = self._behavior(batch.observation)
        candidates = self._negative_candidates(batch.action, batch.observation, batch.goal, behavior, generator)
        negative_logits, weights = self._negatives(features, candidates, generator)
        if config.final_state_negatives and config.negative_ratio:
            final_logits, final_weights = self._final_state_negatives(batch, generator)
            negative_logits = torch.cat([negative_logits, final_logits], dim=1)
            weights = torch.cat([weights, final_weights], dim=1)
        parts = critic_loss(
            logits,
            target.value,
            negative_logits,
            weights,
            kind=Divergence(config.loss),
            negative_weight=config.negative_weight,
        )
        metrics = critic_metrics(batch, logits, negative_logits, weights, target, has_task=self.has_task)
        metrics |= {"critic/td_loss": parts.td_loss.detach(), "critic/negative_loss": parts.negative_loss.detach()}
        total = parts.total
        if self.cloning_head is not None:
            is_hindsight = leads_to_goal(batch.source).float()
            density = self.cloning_head.density(encoded)
            auxiliary_loss = cloning_loss(density, *self.cloning_head.split(batch.action), is_hindsight)
            total = total + config.cloning_weight * auxiliary_loss
            metrics["critic/cloning_loss"] = auxiliary_loss.detach()
        if self.behavior_head is not None and behavior is not None:
            every = torch.ones_like(target.value)
            behavior_loss = cloning_loss(behavior, *self.behavior_head.split(batch.action), every)
            total = total + config.cloning_weight * behavior_loss
            metrics["critic/behavior_loss"] = behavior_loss.detach()
        if self.proposal is not None:
            weight = leads_to_goal(batch.source).float()
            proposed = self.proposal(batch.observation, batch.goal)
            proposal_loss = cloning_loss(proposed, *self.proposal.split(batch.action), weight)
            total = total + proposal_loss
            metrics["proposal/loss"] = proposal_loss.detach()
        return LossResult(total, metrics)

    def _prepared(self, batch: TransitionBatch[Tensor], generator: torch.Generator) -> TransitionBatch[Tensor]:
        """As the networks are shown it: augmented, tasks in place of their goals, actions in [-1, 1]."""
        batch = self._augmentation(batch, generator)
        goal = with_task(batch.goal, is_of_task(batch.source)) if self.has_task else batch.goal
        action, next_action = (self.action_scale.to_unit(actions) for actions in (batch.action, batch.next_action))
        return replace(batch, goal=goal, action=action, next_action=next_action)

    def _target(self, batch: TransitionBatch[Tensor], generator: torch.Generator) -> CriticTarget:
        """y of a batch as `_prepared` gives it."""
        if not self.settings.critic.bootstrap:
            return achieved_target(batch, self.settings.critic)
        proposed = self._proposed(self.proposal, batch.next_observation, batch.goal, generator)
        return bootstrapped_target(self.target_critic, batch, proposed, self.settings, generator=generator)

    def _behavior(self, observation: Observation) -> ActionDensity | None:
        """b(a | s), if negatives come from it: of an encoder shown the goal that s is, which asks for nothing."""
        if self.behavior_head is None:
            return None
        goal: Observation = self.spec.goal_of(observation)
        if self.has_task:
            first = next(iter(goal.values()))
            goal = with_task(goal, torch.zeros(len(first), dtype=torch.bool, device=first.device))
        return self.behavior_head.density(self.critic.encoder(observation, goal))

    def _negative_candidates(
        self,
        action: Tensor,
        observation: Observation,
        goal: Observation,
        behavior: ActionDensity | None,
        generator: torch.Generator,
    ) -> Tensor:
        config = self.settings.critic
        if config.negative_ratio == 0:
            return action.new_empty(len(action), 0, action.shape[1])
        proposed = self._proposed(self.proposal, observation, goal, generator)
        if self.behavior_head is not None and behavior is not None:
            draws = drawn_actions(self.behavior_head, behavior, config.negative_behavior, generator=generator)
            proposed.append(draws)
        binary = self.settings.binary_uniform_entries
        return negative_candidates(config, action, proposed, binary=binary, generator=generator)

    def _negatives(self, features: Tensor, candidates: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Logits of a~ ~ exp(score / temperature) by the online critic, ``(b, m)``, and their weights ``(b, m)``.

        ``m`` is the number of draws, or that of all candidates where the expectation is taken.
        """
        config = self.settings.critic
        if config.negative_ratio and config.negative_estimator == "expected":
            logits = self.critic.score(features, candidates)
            scores = self._negative_scores(logits.detach())
            ratio, temperature = config.negative_ratio, config.negative_temperature
            return logits, expected_weights(scores, negative_ratio=ratio, temperature=temperature)
        weights = negative_weights(
            len(candidates),
            negative_ratio=config.negative_ratio,
            num_draws=config.negative_draws,
            generator=generator,
            device=candidates.device,
        )
        if config.negative_ratio == 0:
            return candidates.new_empty(len(candidates), 0), weights
        with torch.no_grad():
            scores = self._negative_scores(self.critic.score(features.detach(), candidates))
        negatives = draw_negatives(
            candidates,
            scores,
            num=weights.shape[1],
            temperature=config.negative_temperature,
            generator=generator,
        )
        return self.critic.score(features, negatives), weights

    def _negative_scores(self, logits: Tensor) -> Tensor:
        """What exp is taken of: the logit, or Q itself."""
        return torch.sigmoid(logits) if self.settings.critic.negative_score == "probability" else logits

    def _final_state_negatives(
        self, batch: TransitionBatch[Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Negatives at s_T: bootstrapped through where episodes are stitched, yet never trained on otherwise."""
        last, goal = batch.next_observation, batch.goal
        features = self.critic.encode(last, goal)
        with torch.no_grad():
            behavior = self._behavior(last)
        candidates = self._negative_candidates(batch.action, last, goal, behavior, generator)
        logits, weights = self._negatives(features, candidates, generator)
        return logits, weights * batch.next_is_final.unsqueeze(1)

    @torch.no_grad()
    def _proposed(
        self,
        proposal: ActionDensityNetwork | None,
        observation: Observation,
        goal: Observation,
        generator: torch.Generator,
    ) -> list[Tensor]:
        """Samples of the proposal as one more group of candidates, or no group."""
        if proposal is None:
            return []
        density, num = proposal(observation, goal), self.settings.model.proposal_samples
        return [drawn_actions(proposal, density, num, generator=generator)]

    def act_by(self, acting: Acting | CloningAct) -> None:
        """Acts in another way than ``critic.acting`` says, with the same weights.

        Raises:
            SettingsError: There is no such way, it takes the averaged cloning head, which was not kept, or two-valued entries, of which there are none.
        """
        if acting not in get_args(Acting):
            raise SettingsError(f"acting: got {acting!r}; expected one of {', '.join(get_args(Acting))}. Correct it.")
        if acting != "cem" and self.acting_cloning_head is None:
            raise SettingsError(
                f"acting: got {acting} for a model trained with critic.acting: {self.settings.critic.acting}; expected cem, for the "
                f"averaged cloning head is kept with another critic.acting than cem alone. Train it with likely or drawn."
            )
        if acting.endswith("drawn") and not self.settings.cloning.binary_entries:
            raise SettingsError(
                f"acting: got {acting} for a model trained without cloning.binary_entries; expected two-valued entries to draw. Choose likely."
            )
        self.acting = cast("Acting", acting)

    @torch.no_grad()
    def best_action(self, observation: Observation, goal: Observation, *, generator: torch.Generator) -> BestAction:
        """What the averaged critic does: actions in [-1, 1]^a ``(b, a)``, and Q of them in [0, 1] ``(b,)``."""
        critic, head = self.acting_critic, self.acting_cloning_head
        encoded = critic.encoder(observation, goal)
        features = critic.project(encoded)
        if head is None or self.acting == "cem":
            proposed = self._proposed(self.acting_proposal, observation, goal, generator)
            return searched(critic, features, self.action_pool, proposed, self.settings, generator=generator)
        draws_binary = self.acting.endswith("drawn")
        if self.acting.startswith("cloned"):
            return cloned(critic, features, head, encoded, draws_binary=draws_binary, generator=generator)
        return likely(
            critic,
            features,
            head,
            encoded,
            self.settings.critic.likely_samples,
            draws_binary=draws_binary,
            generator=generator,
        )
