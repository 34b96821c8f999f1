"""What trials ask for and how many fit, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from am_ray.settings import IngestSettings, ResourceSettings
from am_ray.trials.resources import TrialResources, concurrent_trials, local_cpus, trial_resources
from am_ray.types import SettingsError
from tests.trials.conftest import settings_for

PLAIN = TrialResources(({"CPU": 1.0},), 0.0)
STREAMING = TrialResources(({"CPU": 1.0},), 0.75)


def test_a_trial_asks_for_its_process_its_learners_and_its_readers(points: str) -> None:
    settings = settings_for(points)
    assert trial_resources(settings) == PLAIN
    assert trial_resources(replace(settings, ingest=IngestSettings(mode="streaming"))) == STREAMING
    gpu = replace(settings, resources=ResourceSettings(num_gpus_per_learner=0.5))
    assert trial_resources(gpu).bundles == ({"CPU": 1.0, "GPU": 0.5},)
    learners = replace(
        settings, resources=ResourceSettings(num_learners=2, num_cpus_per_learner=3, num_gpus_per_learner=1)
    )
    assert trial_resources(learners).bundles == ({"CPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 1.0})
    assert trial_resources(learners).total == {"CPU": 7.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("need", "cpus", "limit", "at_once"),
    [
        (PLAIN, 2, 0, 2),
        (PLAIN, 2, 1, 1),
        (PLAIN, 64, 0, 9),
        (STREAMING, 2, 0, 1),  # two would hold both CPUs, and their readers would wait for ever
        (STREAMING, 3, 0, 1),
        (STREAMING, 4, 0, 2),
        (STREAMING, 1, 0, 1),  # readers ask for nothing where there is no CPU left
    ],
)
def test_readers_are_left_room(need: TrialResources, cpus: float, limit: int, at_once: int) -> None:
    assert concurrent_trials([need] * 9, {"CPU": cpus}, limit=limit) == at_once


def test_a_cluster_that_cannot_hold_a_trial_is_refused() -> None:
    need = TrialResources(({"CPU": 1.0, "GPU": 1.0},), 0.0)
    with pytest.raises(SettingsError, match=r"a trial needs 1 GPU, the Ray cluster has 0"):
        concurrent_trials([PLAIN, need], {"CPU": 8.0}, limit=0)


def test_an_instance_of_our_own_has_room_for_readers_beside_every_core() -> None:
    assert local_cpus([PLAIN], 2) == 2
    assert local_cpus([STREAMING], 2) == 4
    assert concurrent_trials([STREAMING] * 9, {"CPU": 4.0}, limit=0) == 2
    assert local_cpus([TrialResources(({"CPU": 1.0}, {"CPU": 4.0}), 0.0)], 2) == 5
