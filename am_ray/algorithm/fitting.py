"""Whether settings fit the data that are to be learnt from, found out in a moment: before anything is written, and before hours of training."""

from __future__ import annotations

import torch

from am_ray.algorithm.offline_data import DatasetFacts
from am_ray.data.ingest import check_chaining
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings


def check_fits(facts: DatasetFacts, settings: AlgorithmSettings) -> None:
    """Builds the networks once, and compares the entries that links are measured by with those of the states.

    Raises:
        SettingsError: A setting names an entry that the data do not have, or asks for a network that they do not fit.
    """
    check_chaining(settings.drawn_goals, facts.spec)
    with torch.random.fork_rng(devices=[]):  # the caller's draws are its own
        build_model(facts.spec, facts.statistics, settings)
