"""The algorithm's configuration: RLlib's AlgorithmConfig with every typed setting as a flat key, so that Tune can sweep it."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Self

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.from_config import NotProvided

from am_ray.algorithm.offline_data import DatasetFacts, DatasetShards, dataset_facts, ingest_mode
from am_ray.algorithm.task_start import TaskStart, task_start
from am_ray.settings import AlgorithmSettings, IngestSettings, PretrainSettings, TaskSettings
from am_ray.settings_reader import read_settings, to_mapping
from am_ray.types import DataSpec, SettingsError


def flat_keys() -> dict[str, tuple[str, str]]:
    """Each flat key with the (part, field) it sets; a field name that two parts share is prefixed by its part."""
    parts = {part.name: dataclasses.fields(part.default_factory) for part in _parts()}  # type: ignore[arg-type]
    names = [field.name for fields in parts.values() for field in fields]
    return {
        (field.name if names.count(field.name) == 1 else f"{part}_{field.name}"): (part, field.name)
        for part, fields in parts.items()
        for field in fields
    }


def _parts() -> list[dataclasses.Field[Any]]:
    return [part for part in dataclasses.fields(AlgorithmSettings) if part.name != "method"]


class ActionableModelsConfig(AlgorithmConfig):
    """Configures `ActionableModels`; ``method="behavior_cloning"`` trains the baseline on the same data path.

    ``method="task_critic"`` fine-tunes on a labelled dataset (`task`).
    ``.training()`` takes the fields of `AlgorithmSettings`' parts as keys (``chaining_ratio``, ``negative_ratio``,
    ``discount``, ``width``, ...) beside RLlib's own; ``lr``, ``gamma`` and ``train_batch_size_per_learner`` are other
    names of ``learning_rate``, ``discount`` and ``batch_size``.
    """

    # RLlib annotates what it initialises with None as None.
    offline_data_class: Any
    seed: Any
    num_cpus_per_learner: Any
    input_: Any

    def __init__(self, algo_class: type | None = None) -> None:
        from am_ray.algorithm.algorithm import ActionableModels

        super().__init__(algo_class=algo_class or ActionableModels)
        # Without this RLlib asks for an environment and builds training EnvRunners.
        self._is_online = False
        self.offline_data_class = DatasetShards
        self.seed = 0
        self.num_cpus_per_learner = 1
        self.updates_per_iteration = 500
        self.max_updates: int | None = None
        self.log_level = "ERROR"
        # A thread that samples CPU and memory use, which nothing here reports.
        self.log_sys_usage = False
        # Averaged copies are moved alike on all learners; nothing but gradients needs to be exchanged.
        self.torch_ddp_kwargs = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
        self.method = "actionable_models"
        self.ingest: dict[str, Any] = to_mapping(IngestSettings())
        self.task: dict[str, Any] = to_mapping(TaskSettings())
        self._set_algorithm_settings(AlgorithmSettings())

    def training(self, **kwargs: Any) -> Self:
        """Sets RLlib's training keys and ours.

        Raises:
            SettingsError: A key that neither knows; the near name is suggested.
        """
        renamed = {"lr": "learning_rate", "gamma": "discount", "train_batch_size_per_learner": "batch_size"}
        ours = {*flat_keys(), "method", "updates_per_iteration", "max_updates"}
        rllib = {}
        for key, value in kwargs.items():
            name = renamed.get(key, key)
            if name in ours:
                if value is not NotProvided:
                    setattr(self, name, value)
            elif key in _rllib_training_keys():
                rllib[key] = value
            else:
                near = difflib.get_close_matches(key, ours | _rllib_training_keys(), n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]}?" if near else "See am_ray/settings/ for the settings."
                raise SettingsError(f"ActionableModelsConfig.training: unknown setting {key}. {hint}")
        super().training(**rllib)
        return self

    def dataset(self, path: str, ingest: IngestSettings | None = None, task: TaskSettings | None = None) -> Self:
        """The dataset to train on (opened and checked now), how it travels to the learners, and the task it labels.

        Raises:
            DatasetError: It cannot be read.
            CheckpointError: The weights that the task starts from cannot be used for it.
        """
        self.input_ = [str(path)]
        if ingest is not None:
            self.ingest = to_mapping(ingest)
        if task is not None:
            self.task = to_mapping(task)
        spec = self.facts().spec
        self.environment(observation_space=observation_space(spec), action_space=action_space(spec))
        return self

    @classmethod
    def from_settings(cls, settings: PretrainSettings) -> Self:
        """The configuration that a config file of ``am-ray pretrain`` stands for."""
        config = cls()
        config.method = settings.algorithm.method
        config._set_algorithm_settings(settings.algorithm)
        config.debugging(seed=settings.seed)
        config.learners(
            num_learners=settings.resources.num_learners,
            num_cpus_per_learner=settings.resources.num_cpus_per_learner,
            num_gpus_per_learner=settings.resources.num_gpus_per_learner,
        )
        config.training(
            updates_per_iteration=settings.training.updates_per_iteration, max_updates=settings.training.updates
        )
        return config.dataset(settings.dataset, settings.ingest, settings.task)

    def algorithm_settings(self) -> AlgorithmSettings:
        """The typed settings that the flat keys stand for.

        Raises:
            SettingsError: A value of another type or out of range.
        """
        mapping: dict[str, Any] = {"method": self.method}
        for key, (part, name) in flat_keys().items():
            mapping.setdefault(part, {})[name] = getattr(self, key)
        return read_settings(AlgorithmSettings, mapping, "ActionableModelsConfig")

    def ingest_settings(self) -> IngestSettings:
        return read_settings(IngestSettings, self.ingest, "ActionableModelsConfig.dataset")

    def task_settings(self) -> TaskSettings | None:
        """The downstream task, or None where goals are learnt."""
        if self.method != "task_critic":
            return None
        return read_settings(TaskSettings, self.task, "ActionableModelsConfig.dataset")

    def facts(self) -> DatasetFacts:
        """What the networks need to know of the dataset.

        Raises:
            DatasetError: It cannot be read or is damaged.
        """
        facts = dataset_facts(self.input_[0], self.ingest_settings().skip_bad_files)
        start = self.task_start()
        return facts if start is None else dataclasses.replace(facts, statistics=start.statistics)

    def task_start(self) -> TaskStart | None:
        """Where fine-tuning begins, or None where goals are learnt."""
        task = self.task_settings()
        if task is None:
            return None
        return task_start(self.input_[0], task, self.algorithm_settings(), self.ingest_settings().skip_bad_files)

    def needs_ray(self) -> bool:
        """Whether learners or the data need a Ray cluster; a local learner with resident data does not."""
        if self.num_learners > 0 or self.num_env_runners > 0 or self.evaluation_num_env_runners > 0:
            return True
        task = self.task_settings()
        paths = [self.input_[0], *([task.auxiliary] if task and task.auxiliary else [])]
        return any(ingest_mode(path, self.ingest_settings(), 1) == "streaming" for path in paths)

    def _set_algorithm_settings(self, settings: AlgorithmSettings) -> None:
        for key, (part, name) in flat_keys().items():
            setattr(self, key, getattr(getattr(settings, part), name))

    def validate(self) -> None:
        super().validate()
        self.algorithm_settings()
        self.ingest_settings()
        if not self.is_offline:
            raise SettingsError("ActionableModelsConfig: no dataset; expected a path. Call .dataset(path).")

    def get_default_learner_class(self) -> Any:
        from am_ray.algorithm.learner import ObjectiveLearner

        return ObjectiveLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        from am_ray.algorithm.rl_module import ObjectiveModule

        facts = self.facts()
        return RLModuleSpec(
            module_class=ObjectiveModule,
            model_config={
                "spec": facts.spec,
                "statistics": facts.statistics,
                "settings": self.algorithm_settings(),
                "seed": self.seed or 0,
                "start": self.task_start(),
            },
        )


def _rllib_training_keys() -> set[str]:
    keys = set(AlgorithmConfig.training.__annotations__)
    return keys - {"return"}


def observation_space(spec: DataSpec) -> gym.spaces.Dict:
    """What a goal-conditioned environment with this data gives: Dict of ``observation`` and ``desired_goal``."""
    return gym.spaces.Dict(
        {
            "observation": gym.spaces.Dict({name: _box(shape) for name, shape in spec.observation_shapes.items()}),
            "desired_goal": gym.spaces.Dict({name: _box(shape) for name, shape in spec.goal_shapes.items()}),
        }
    )


def action_space(spec: DataSpec) -> gym.spaces.Box:
    return gym.spaces.Box(
        np.array(spec.action_low, np.float32), np.array(spec.action_high, np.float32), dtype=np.float32
    )


def _box(shape: tuple[int, ...]) -> gym.spaces.Box:
    if len(shape) == 3:
        return gym.spaces.Box(0, 255, shape, np.uint8)
    return gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
