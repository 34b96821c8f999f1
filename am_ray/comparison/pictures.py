"""Panels of evaluation episodes: a few successes and failures of every arm."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

from am_ray.comparison.study import Cell, Study

logger = logging.getLogger(__name__)

PER_OUTCOME = 2
_WIDTH_PX = 1000
_PANELS_READ = 400


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
        cells = sorted((c for c in study.counted if c.arm == arm), key=lambda c: (-c.episodes, c.seed))
        for outcome in ("success", "failure", "episode"):
            found = 0
            for cell, path in [(cell, path) for cell in cells for path in _panels(study, cell)][:_PANELS_READ]:
                if found == PER_OUTCOME or _outcome(path) != outcome:
                    continue
                jpeg = _read(path)
                if jpeg is not None:
                    chosen.append(Picture(arm, cell.name, outcome, path, jpeg))
                    found += 1
    return chosen


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
