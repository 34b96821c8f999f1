"""What a trial asks Ray for, and how many trials run at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from am_ray.data.ingest import resolved_mode
from am_ray.data.reader import read_dataset
from am_ray.data.streaming import READER_CPUS
from am_ray.settings import PretrainSettings
from am_ray.types import SettingsError


@dataclass(frozen=True)
class TrialResources:
    """What one trial holds while it runs.

    Attributes:
        bundles: Of its placement group: the trial's process, and each learner.
        reader_cpus: CPUs of its Ray Data readers. They run outside the group: where groups hold all CPUs, readers wait for
            ever, and the trials with them.
    """

    bundles: tuple[Mapping[str, float], ...]
    reader_cpus: float

    @property
    def total(self) -> dict[str, float]:
        names = {name for bundle in self.bundles for name in bundle}
        total = {name: sum(bundle.get(name, 0.0) for bundle in self.bundles) for name in sorted(names)}
        return total | {"CPU": total["CPU"] + self.reader_cpus}


def trial_resources(settings: PretrainSettings) -> TrialResources:
    """What these settings need.

    Raises:
        DatasetError: The dataset cannot be read.
    """
    resources = settings.resources
    learner = {"CPU": resources.num_cpus_per_learner, "GPU": resources.num_gpus_per_learner}
    if resources.num_learners == 0:
        own = {"CPU": max(1.0, learner["CPU"]), "GPU": learner["GPU"]}
        bundles = [own]
    else:
        bundles = [{"CPU": 1.0}, *[dict(learner) for _ in range(resources.num_learners)]]
    plain = tuple({name: value for name, value in bundle.items() if value} for bundle in bundles)
    readers = READER_CPUS * settings.ingest.num_workers if _streams(settings) else 0.0
    return TrialResources(tuple(bundle for bundle in plain if bundle), readers)


def concurrent_trials(needs: Sequence[TrialResources], available: Mapping[str, float], *, limit: int) -> int:
    """How many trials run at once, readers included; at least one.

    Args:
        needs: Of each trial; the largest counts.
        available: Resources of the cluster.
        limit: Not more than this; 0: no other limit.

    Raises:
        SettingsError: The cluster cannot hold one trial.
    """
    fits = len(needs)
    for name in sorted({name for need in needs for name in need.total}):
        most = max(need.total.get(name, 0.0) for need in needs)
        bare = max(sum(bundle.get(name, 0.0) for bundle in need.bundles) for need in needs)
        has = available.get(name, 0.0)
        if bare > has:
            raise SettingsError(
                f"resources: a trial needs {bare:g} {name}, the Ray cluster has {has:g}. Lower the settings of "
                f"'resources', or start a larger cluster."
            )
        if most:
            fits = min(fits, int(has // most))
    return max(1, min(fits, limit or fits))


def local_cpus(needs: Sequence[TrialResources], cores: int) -> int:
    """CPUs that an instance of our own offers: one trial's at least; readers, who mostly wait, come on top of the cores."""
    bare = max(sum(bundle.get("CPU", 0.0) for bundle in need.bundles) for need in needs)
    at_once = max(1, int(cores // bare))
    return int(at_once * (bare + max(need.reader_cpus for need in needs)) + 0.999)


def _streams(settings: PretrainSettings) -> bool:
    paths = [settings.dataset, *([settings.task.auxiliary] if settings.task.auxiliary else [])]
    shards = max(1, settings.resources.num_learners)
    skip = settings.ingest.skip_bad_files
    opened: list[Any] = [read_dataset(path, skip_bad_files=skip) for path in paths]
    return any(resolved_mode(dataset, settings.ingest, shards) == "streaming" for dataset in opened)
