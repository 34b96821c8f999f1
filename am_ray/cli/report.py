"""What a command has to say at its end, for people and for programs."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any


@dataclass(frozen=True)
class Report:
    """A command's result.

    Attributes:
        text: For people; what stdout shows without ``--json``.
        data: For programs; what stdout shows with it.
        code: Exit status.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    code: int = 0


@contextlib.contextmanager
def reserved_stdout() -> Iterator[IO[str]]:
    """Keeps stdout for one document: whatever else is written there meanwhile, by C code too, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)  # what C has printed and not yet written would follow the document
        os.dup2(kept, 1)
        os.close(kept)


def write_json(data: dict[str, Any], stream: IO[str]) -> None:
    """One JSON document, keys in their order. JSON has no NaN and no infinity: they become null."""
    json.dump(_finite(data), stream, indent=2, allow_nan=False)
    stream.write("\n")


def table_text(table: Any) -> str:
    """A rich table as plain text, as wide as it needs to be where stdout is no terminal."""
    from rich.console import Console

    stream = io.StringIO()
    width = shutil.get_terminal_size((160, 24)).columns if sys.stderr.isatty() else 160
    Console(file=stream, width=width).print(table)
    return stream.getvalue().rstrip("\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
