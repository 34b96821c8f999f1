"""Which points of which curves a spool has already given, so that those that a resumed run repeats are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from am_ray.tracking.mlflow_store import Point
from am_ray.tracking.spool import Record, read_entries, spool_path


@dataclass
class KnownPoints:
    """The points of a spool up to a byte of it; of several with one key and step the first one counts.

    Attributes:
        offset: Byte up to which the spool was read.
        curves: Key, then step, to value and time.
    """

    offset: int = 0
    curves: dict[str, dict[int, tuple[float, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, offset: int) -> KnownPoints:
        known = cls(offset)
        for entry in read_entries(spool_path(folder)):
            if entry.end > offset:
                break
            if entry.record is not None and entry.record["type"] == "metrics":
                known.add(known.new([entry.record]))
        return known

    def new(self, records: Iterable[Record]) -> list[Point]:
        """The points of ``metrics`` records that are not known, each key and step once."""
        points: dict[tuple[str, int], Point] = {}
        for record in records:
            step, time = int(record["step"]), int(record["time"])
            for key, value in record["values"].items():
                if step not in self.curves.get(key, {}):
                    points.setdefault((key, step), (key, float(value), time, step))
        return list(points.values())

    def add(self, points: Iterable[Point]) -> None:
        for key, value, time, step in points:
            self.curves.setdefault(key, {})[step] = (value, time)

    def as_known(self, record: Record) -> list[Point]:
        """The points of a record, those that are known as they are known: MLflow then keeps them once."""
        step, time = int(record["step"]), int(record["time"])
        return [
            (key, *self.curves.get(key, {}).get(step, (float(value), time)), step)
            for key, value in record["values"].items()
        ]
