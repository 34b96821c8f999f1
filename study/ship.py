"""A checkpoint small enough to ship: the weights that act, without the optimizer's state.

python -m study.ship runs/study/tray_play_10k_recipe/trials/seed=0 --out checkpoints/tray_play_state --dataset data/tray_play_state
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from am_ray.models.checkpoint import (
    find_checkpoint,
    read_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from am_ray.models.weights import acting_weights


def ship(run: str | Path, out: str | Path, *, dataset: str) -> None:
    """Writes the newest checkpoint of a run into ``out``, over what is there.

    Args:
        run: A run's folder, or a checkpoint.
        out: Folder to write.
        dataset: Name of the data for readers, in place of the path that they had where it was trained.
    """
    checkpoint = read_checkpoint(find_checkpoint(run))
    origin = dict(checkpoint.origin)
    origin["dataset"] = {**origin["dataset"], "path": dataset}
    state = dataclasses.replace(checkpoint.state, optimizer={}, weights=acting_weights(checkpoint.state.weights))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder, dataclasses.replace(checkpoint, state=state, origin=origin))
    verify_checkpoint(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m study.ship", description="Writes a checkpoint to ship.")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="what the data are called for readers")
    args = parser.parse_args()
    ship(args.run, args.out, dataset=args.dataset)


if __name__ == "__main__":
    main()
