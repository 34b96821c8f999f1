"""Batches of two datasets side by side: a downstream task's, and unlabelled data as its auxiliary objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from am_ray.data.ingest import ShardSource
from am_ray.data.shard import Columns


@dataclass(frozen=True)
class MixedSource:
    """One learner's source: each batch is one of ``labelled`` followed by one of ``unlabelled``."""

    labelled: ShardSource
    unlabelled: ShardSource

    @property
    def mode(self) -> str:
        """That of the unlabelled data, which are the larger ones."""
        return self.unlabelled.mode

    def describe(self) -> str:
        return f"{self.labelled.describe()}; beside it {self.unlabelled.describe()}"

    def batches(self, start_update: int = 0) -> Iterator[Columns]:
        """Endless batches, from that of update ``start_update``."""
        first: Any = self.labelled.batches(start_update)
        second: Any = self.unlabelled.batches(start_update)
        with closing(first), closing(second):
            while True:
                yield _joined(next(first), next(second))


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> Columns:
    return {
        name: _joined(value, second[name]) if isinstance(value, Mapping) else np.concatenate([value, second[name]])
        for name, value in first.items()
    }
