"""The bridge from the dataset to RLlib: facts for building the network, and one source of batches per learner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ray.rllib.offline.offline_data import OfflineData

from am_ray.data.ingest import ShardSource, open_ingest, resolved_mode
from am_ray.data.manifest import Manifest
from am_ray.data.mixed import MixedSource
from am_ray.data.reader import read_dataset, read_manifest
from am_ray.data.scale import data_statistics
from am_ray.settings import IngestSettings, TaskSettings
from am_ray.types import DataSpec, DataStatistics


@dataclass(frozen=True)
class DatasetFacts:
    """What building a network needs to know of a dataset.

    Attributes:
        spec: Shapes and bounds.
        statistics: Scale, and a pool of actions.
        digest: Of the data alone.
        environment: The environment that made the data, ``{"id": ..., "kwargs": ...}``, if recorded.
    """

    spec: DataSpec
    statistics: DataStatistics
    digest: str
    environment: dict[str, Any] | None


def dataset_facts(path: str, skip_bad_files: bool = False) -> DatasetFacts:
    """Opens and checks the dataset, once per process while it stays as it is; damaged files are left out if asked for.

    Raises:
        DatasetError: It cannot be read or is damaged.
    """
    return _facts(path, skip_bad_files, read_manifest(path))


@lru_cache(maxsize=8)
def _facts(path: str, skip_bad_files: bool, manifest: Manifest) -> DatasetFacts:
    # The manifest holds the hash of every file: data written anew at the same path are other data.
    dataset = read_dataset(path, skip_bad_files=skip_bad_files)
    return DatasetFacts(dataset.spec, data_statistics(dataset), dataset.digest, dataset.info.env)


def ingest_mode(path: str, ingest: IngestSettings, num_shards: int) -> str:
    """``resident`` or ``streaming``: the mode that these settings come to on this dataset."""
    return resolved_mode(read_dataset(path, skip_bad_files=ingest.skip_bad_files), ingest, num_shards)


class DatasetShards(OfflineData):
    """What RLlib asks for data: one small picklable source per learner, opened once.

    A learner keeps its source, so later calls hand out placeholders and nothing large travels twice.
    """

    config: Any
    path: Any

    def __init__(self, config: Any) -> None:
        # Not calling super: it would read the path through ray.data.read_parquet.
        self.config = config
        self.path = config.input_
        self.iter_batches_kwargs: dict[str, Any] = {}
        self.locality_hints = self.learner_handles = self.module_spec = self.spaces = None
        self._sources: list[Any] | None = None

    @property
    def mode(self) -> str:
        """The ingest mode taken: ``resident`` or ``streaming``."""
        return str(self.open()[0].mode)

    def open(self) -> list[Any]:
        """The sources, one per learner (one for a local learner)."""
        if self._sources is None:
            task = self.config.task_settings()
            size = self.config.algorithm_settings().optimization.batch_size
            self._sources = self._open(self.path[0], size, task)
            if task is not None and task.auxiliary and task.auxiliary_ratio:
                beside = self._open(task.auxiliary, max(1, round(size * task.auxiliary_ratio)), None)
                self._sources = [MixedSource(*pair) for pair in zip(self._sources, beside, strict=True)]
        return self._sources

    def _open(self, path: str, batch_size: int, task: TaskSettings | None) -> list[ShardSource]:
        settings = self.config.algorithm_settings()
        return open_ingest(
            path,
            self.config.facts().spec,
            settings.drawn_goals,
            self.config.ingest_settings(),
            batch_size=batch_size,
            discount=settings.critic.discount,
            seed=self.config.seed or 0,
            num_shards=max(1, self.config.num_learners),
            task=task,
        )

    def sample(
        self, num_samples: int, return_iterator: bool = True, num_shards: int = 1, module_state: Any = None
    ) -> list[Any]:
        """One source per learner."""
        return self.open()
