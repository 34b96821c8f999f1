"""Learning per minute: how long one core trains until a policy reaches a share of held-out goals.

    python -m benchmarks.time_to_success --dataset DIR [--config FILE.yaml] [--set a.b=c ...] [--minutes 4] [--seeds 0 1]
        [--episodes 200] [--threshold 0.5] [--task instance_grasping] [--every 500] [--coarse 8] [--out FILE.json]

Each seed trains with ``am_ray.pretraining.pretrain`` in a process of its own, one torch thread, one seed after the other, and
keeps a checkpoint every ``--every`` updates. Afterwards the checkpoints act on the same goals (``am_ray.evaluation``; goals
depend on ``--goal-seed`` and the task alone, and no data begin like them): first ``--coarse`` evenly spaced ones in rising
order, then, by bisection, those around the threshold. So evaluation costs training no time.

``seconds`` is the run's own clock (``metrics.jsonl``): from the built algorithm on, checkpoints included; the start-up before
it (imports, opening the data) stands apart. ``cpu s`` is the CPU time of the training process since it began to train: other
work on the machine hardly counts in it. The crossing is given three ways: the first evaluated checkpoint at or above the
threshold, the line between it and its neighbour below, and the same line on the rates made monotone (isotonic regression),
which a single lucky checkpoint moves less.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEEP_ALL, NO_LIMIT = 100_000, 10_000_000
OVERRIDE_HELP = "a setting over the config's, as in 'am-ray pretrain'"


@dataclass(frozen=True)
class Saved:
    """A checkpoint, and what training had cost by then."""

    path: str
    update: int
    seconds: float
    cpu_s: float
    updates_per_s: float


@dataclass(frozen=True)
class Point:
    """A checkpoint that was evaluated."""

    update: int
    seconds: float
    cpu_s: float
    successes: int
    episodes: int
    rate: float
    low: float
    high: float


def main() -> None:
    args = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryDirectory() as temporary:
        storage = args.runs or Path(temporary)
        runs = {seed: train(args, seed, storage) for seed in args.seeds}
        seeds = {seed: _evaluated(args, seed, *run) for seed, run in runs.items()}
    for seed, found in seeds.items():
        print(f"seed {seed}: {_sentence(found, args.threshold)}")
    if args.out is not None:
        import ray  # noqa: F401  (psutil, which the next module takes, may be the one inside Ray)

        from benchmarks.machine import commit, describe_machine

        facts = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
        result = {"arguments": facts, "machine": describe_machine(), **commit(), "seeds": seeds}
        args.out.write_text(json.dumps(result, indent=2) + "\n")


def train(args: argparse.Namespace, seed: int, storage: Path) -> tuple[float, list[Saved]]:
    """Trains one seed in a new process; its start-up in seconds, and its checkpoints."""
    overrides = [*args.overrides, f"seed={seed}", f"training.max_minutes={args.minutes}"]
    overrides += [f"training.{name}={args.every}" for name in ("updates_per_iteration", "checkpoint_every")]
    overrides += [f"training.updates={args.updates}", f"training.keep_checkpoints={KEEP_ALL}"]
    run = storage / f"seed_{seed}"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_train_here, args=(args.config, args.dataset, overrides, run, time.time()))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"training of seed {seed} failed (exit status {process.exitcode}), see above")
    clocks: dict[str, Any] = json.loads((run / "clocks.json").read_text())
    lines = {line["update"]: line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())}
    checkpoints = [
        Saved(
            str(path), update, lines[update]["seconds"], clocks["cpu_s"][str(update)], update / lines[update]["seconds"]
        )
        for path in sorted(run.glob("checkpoint-*"))
        if (update := int(path.name.rpartition("-")[2])) in lines
    ]
    last = checkpoints[-1]
    print(
        f"seed {seed}: {last.update} updates in {last.seconds:.0f} s ({last.updates_per_s:.0f}/s, CPU {last.cpu_s:.0f} s), "
        f"start-up {clocks['start_up_s']:.1f} s, {len(checkpoints)} checkpoints",
        flush=True,
    )
    return clocks["start_up_s"], checkpoints


def _train_here(config: str | None, dataset: str, overrides: list[str], run: Path, began: float) -> None:
    """The training process: `pretrain`, and what the run's own metrics do not say."""
    import torch

    import am_ray.algorithm.algorithm  # noqa: F401  (the longest import, so that `cpu_s` begins after it)
    from am_ray.cli.pretrain import read_config
    from am_ray.pretraining import PretrainProgress, pretrain

    torch.set_num_threads(1)
    ready = time.process_time()
    cpu_s: dict[int, float] = {}
    first_s: list[float] = []

    def note(progress: PretrainProgress) -> None:
        cpu_s[progress.update] = time.process_time() - ready
        if not first_s:
            first_s.append(time.time() - began)

    settings = read_config(config, dataset, overrides)
    pretrain(settings, run_name=run.name, storage=run.parent, resume="never", on_progress=note)
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["seconds"]
    (run / "clocks.json").write_text(json.dumps({"start_up_s": first_s[0] - first, "cpu_s": cpu_s}))


def _evaluated(args: argparse.Namespace, seed: int, start_up_s: float, saved: list[Saved]) -> dict[str, Any]:
    print(f"seed {seed}, {args.task}, {args.episodes} goals\n updates  seconds    cpu s  success  [95 % interval]")
    points: dict[int, Point] = {}
    for index in _coarse(len(saved), args.coarse):
        points[index] = _point(args, saved[index])
    while (halfway := _between(points, args.threshold)) is not None:
        points[halfway] = _point(args, saved[halfway])
    curve = [points[index] for index in sorted(points)]
    return {
        "start_up_s": start_up_s,
        "updates_per_s": saved[-1].updates_per_s,
        "updates_per_cpu_s": saved[-1].update / saved[-1].cpu_s,
        "checkpoints": [asdict(each) for each in saved],
        "curve": [asdict(each) for each in curve],
        "first": _first(curve, args.threshold),
        "interpolated": _crossing(curve, [point.rate for point in curve], args.threshold),
        "monotone": _crossing(curve, list(_isotonic(curve)), args.threshold),
    }


def _point(args: argparse.Namespace, saved: Saved) -> Point:
    from am_ray.evaluation import evaluate

    report = evaluate(
        saved.path,
        tasks=[args.task],
        episodes=args.episodes,
        seed=args.goal_seed,
        workers=args.workers,
        baselines=False,
    )
    found = report.tasks[args.task]
    rate = found.success_rate
    if rate is None:
        raise SystemExit(f"{saved.path}: no episode of {args.task} counts; see the log above")
    low, high = found.interval
    point = Point(saved.update, saved.seconds, saved.cpu_s, found.successes, found.n, rate, low, high)
    print(
        f"{saved.update:8d} {saved.seconds:8.1f} {saved.cpu_s:8.1f} {100 * rate:7.1f}%  [{100 * low:.0f}, {100 * high:.0f}]",
        flush=True,
    )
    return point


def _coarse(checkpoints: int, count: int) -> list[int]:
    """Evenly spaced indices in rising order, the last one among them; all of them if ``count`` is 0."""
    if not count or count >= checkpoints:
        return list(range(checkpoints))
    return sorted({round((step + 1) * checkpoints / count) - 1 for step in range(count)})


def _between(points: dict[int, Point], threshold: float) -> int | None:
    """A checkpoint halfway between the first at or above the threshold and the one evaluated before it, if there is one."""
    before = -1
    for index in sorted(points):
        if points[index].rate >= threshold:
            return (before + index) // 2 if index - before > 1 else None
        before = index
    return None


def _first(curve: list[Point], threshold: float) -> dict[str, float] | None:
    for point in curve:
        if point.rate >= threshold:
            return {"update": point.update, "seconds": point.seconds, "cpu_s": point.cpu_s}
    return None


def _crossing(curve: list[Point], rates: list[float], threshold: float) -> dict[str, float] | None:
    """Where straight lines between the points first reach the threshold; they begin at 0 % after 0 updates."""
    before, rate_before = Point(0, 0.0, 0.0, 0, 0, 0.0, 0.0, 1.0), 0.0
    for point, rate in zip(curve, rates, strict=True):
        if rate >= threshold:
            share = (threshold - rate_before) / (rate - rate_before) if rate > rate_before else 0.0
            pairs = {name: (getattr(before, name), getattr(point, name)) for name in ("update", "seconds", "cpu_s")}
            return {name: low + share * (high - low) for name, (low, high) in pairs.items()}
        before, rate_before = point, rate
    return None


def _isotonic(curve: list[Point]) -> Iterator[float]:
    """The closest rates that never fall: pool adjacent violators, weighted by episodes."""
    pools: list[list[int]] = []  # successes, episodes, points
    for point in curve:
        pools.append([point.successes, point.episodes, 1])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] > pools[-1][0] * pools[-2][1]:
            last = pools.pop()
            pools[-1] = [a + b for a, b in zip(pools[-1], last, strict=True)]
    for successes, episodes, count in pools:
        for _ in range(count):
            yield successes / episodes


def _sentence(found: dict[str, Any], threshold: float) -> str:
    names = ("first", "interpolated", "monotone")
    best = max(point["rate"] for point in found["curve"])
    if found["first"] is None:
        return f"{100 * threshold:g} % not reached; the best was {100 * best:.1f} %"
    texts = [f"{name} {_place(found[name])}" for name in names]
    return f"{100 * threshold:g} %: {'; '.join(texts)}; start-up {found['start_up_s']:.1f} s; best {100 * best:.1f} %"


def _place(place: dict[str, float] | None) -> str:
    if place is None:
        return "not reached"
    return f"{place['seconds']:.0f} s (CPU {place['cpu_s']:.0f} s, update {place['update']:.0f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, metavar="DIR")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings; default: all defaults")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="a.b=c", help=OVERRIDE_HELP)
    parser.add_argument("--minutes", type=float, default=4.0, help="of training; default: 4")
    parser.add_argument(
        "--updates", type=int, default=NO_LIMIT, help="training also ends there; default: no such limit"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training; default: 0")
    parser.add_argument("--episodes", type=int, default=200, help="goals; default: 200")
    parser.add_argument("--threshold", type=float, default=0.5, help="success rate to reach; default: 0.5")
    parser.add_argument("--task", default="instance_grasping", help="default: instance_grasping")
    parser.add_argument("--every", type=int, default=500, help="updates between checkpoints; default: 500")
    parser.add_argument("--coarse", type=int, default=8, help="checkpoints evaluated first; 0: all; default: 8")
    parser.add_argument("--goal-seed", type=int, default=1, help="of starts and goals; default: 1")
    parser.add_argument("--workers", type=int, default=1, help="processes that evaluate; default: 1")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where to leave the runs; default: nowhere")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write everything as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
