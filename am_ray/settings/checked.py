"""Ranges of settings: in a field's metadata, so that reader, command line and docs agree, and refused when a value lies outside."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any

from am_ray.types import SettingsError


def bounded(default: Any, low: float | None = None, high: float | None = None) -> Any:
    """A field whose value must lie in [low, high], both ends included."""
    return field(default=default, metadata={"low": low, "high": high})


class Checked:
    """Refuses values outside the ranges that the fields declare."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):  # type: ignore[arg-type]
            value, low, high = getattr(self, entry.name), entry.metadata.get("low"), entry.metadata.get("high")
            if (low is not None and value < low) or (high is not None and value > high):
                raise SettingsError(
                    f"{type(self).__name__}.{entry.name}: got {value!r}; expected a value in "
                    f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]. Change this setting."
                )
