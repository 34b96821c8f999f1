"""Episodes of a trained policy to look at, successes and failures of each task: one figure, and animations.

python -m study.pictures checkpoints/tray_play_state --out docs/results/tray_play_state
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from am_ray.evaluation import evaluate, write_figure, write_gif

GIF_SIZE_PX = 200
# Of each task: the first episode that succeeds and the first that fails.
EPISODES_PER_TASK = 2


def write_pictures(
    checkpoint: str | Path, out: str | Path, *, seed: int, episodes: int = 40, workers: int = 1
) -> list[Path]:
    """Looks for a success and a failure of each task among the first ``episodes`` of a seed.

    Args:
        checkpoint: A checkpoint, or the folder of a run.
        out: The files' common beginning: ``OUT_panels.png``, ``OUT_<task>_<outcome>_<episode>.gif``.
        seed: Of starts and goals.
        episodes: To choose from, of each task.
        workers: Processes.

    Returns:
        The files written.
    """
    beginning = Path(out)
    beginning.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:  # of single panels in full size, which are not kept
        report = evaluate(
            checkpoint,
            episodes=episodes,
            seed=seed,
            workers=workers,
            baselines=False,
            panels_dir=folder,
            panels_per_task=EPISODES_PER_TASK,
            animations=episodes,
        )
    paths = [beginning.with_name(f"{beginning.name}_panels.png")]
    write_figure(report.recordings, paths[0])
    for result in report.recordings:
        outcome = "success" if result.success else "failure"
        name = f"{beginning.name}_{result.job.task.name}_{outcome}_{result.job.index}.gif"
        paths.append(beginning.with_name(name))
        assert result.recording is not None
        write_gif(result.recording.frames[::2], paths[-1], frames_per_second=6.0, max_size_px=GIF_SIZE_PX)
    return paths


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m study.pictures", description="Pictures of a policy's episodes.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or the folder of a run")
    parser.add_argument("--out", required=True, metavar="NAME", help="the files' common beginning")
    parser.add_argument("--seed", type=int, default=100, metavar="S", help="of starts and goals; default: 100")
    parser.add_argument(
        "--episodes", type=int, default=40, metavar="N", help="of each task, to choose from; default: 40"
    )
    return parser


def main() -> None:
    args = argument_parser().parse_args()
    for path in write_pictures(args.checkpoint, args.out, seed=args.seed, episodes=args.episodes):
        print(path)


if __name__ == "__main__":
    main()
