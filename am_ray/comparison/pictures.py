"""Panels of evaluation episodes: a few successes and failures of every arm."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from am_ray.comparison.study import Cell, Study

logger = logging.getLogger(__name__)

PER_OUTCOME = 2
_WIDTH_PX = 1000
# Of an arm that are looked at.
_MOST_PANELS = 400


@dataclass(frozen=True)
class Picture:
    """One episode: start | goal | final frame.

    Attributes:
        outcome: ``success``, ``failure``, or ``episode`` where the file's name does not say.
        jpeg: The picture, at most 1,000 pixels wide.
    """

    arm: str
    cell: str
    outcome: str
    path: Path
    jpeg: bytes


def choose_pictures(study: Study) -> list[Picture]:
    """Up to two successes and two failures of every arm, of its cell with the most labelled episodes that has panels."""
    chosen = []
    for arm in study.arms:
        cells = sorted(
            (cell for cell in study.counted if cell.arm == arm), key=lambda cell: (-cell.episodes, cell.seed)
        )
        listed = [(cell, path) for cell in cells for path in _panels(study, cell)][:_MOST_PANELS]
        for outcome in ("success", "failure", "episode"):
            pictures = (_picture(cell, path, outcome) for cell, path in listed if _outcome(path) == outcome)
            chosen += list(islice((picture for picture in pictures if picture is not None), PER_OUTCOME))
    return chosen


def _picture(cell: Cell, path: Path, outcome: str) -> Picture | None:
    jpeg = _read(path)
    return None if jpeg is None else Picture(cell.arm, cell.name, outcome, path, jpeg)


def _panels(study: Study, cell: Cell) -> list[Path]:
    """Files that the cell names and that lie below the study's folder."""
    root = study.folder.resolve()
    paths = []
    for name in cell.record.get("panels") or ():
        path = (root / str(name)).resolve()
        if path.is_relative_to(root):
            paths.append(path)
        else:
            logger.warning("%s: panel %s lies outside the study and is not shown", cell.name, name)
    return paths


def _outcome(path: Path) -> str:
    word = path.stem.rsplit("_", 1)[-1]
    return word if word in ("success", "failure") else "episode"


def _read(path: Path) -> bytes | None:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        logger.warning("%s: cannot be shown (%s)", path, error)
        return None
    image.thumbnail((_WIDTH_PX, 4 * _WIDTH_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
