"""Where the time of one update goes: by part, by operator, and against what the machine can multiply.

    python -m benchmarks.update_profile [--image] [--set algorithm.model.head_width=128 ...] [--updates 50] [--operators 6]

One torch thread, the update of `benchmarks.bare_update`. Three passes over the same update: a stopwatch alone (ms per update);
stopwatches around the parts, by wrapping functions and methods of the package from here, where a part inside another belongs
to the outer one; and torch.profiler (operators by their own CPU time, under the part they ran in). FLOPs are those of products
and convolutions (torch.utils.flop_counter), peaks are measured here by products of 1024 x 1024 matrices, per dtype. "of peak"
is the time that a part's FLOPs would take at peak over the time that it takes.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

import am_ray.models.actionable_model as home
from benchmarks import bare_update
from benchmarks.bare_update import BareUpdate, Work, WorkCounter, algorithm_settings, gemm_peak, median_ms, total
from benchmarks.bare_update import seconds_per_update as seconds_of

REST = "the rest"
# Part to where it is: attributes of the model, or of the module that the loss is written in. Missing ones are skipped.
MODEL_PARTS = {
    "target": ("_target",),
    "candidates + negatives": ("_negatives", "_final_state_negatives"),
    "augmentation": ("_augment",),
    "averages": ("update_averages",),
}
MODULE_PARTS = {"metrics": ("critic_metrics",), "loss terms": ("critic_loss",)}
CRITIC_PARTS = {"online scores": ("encode", "score")}


class Parts:
    """The part that runs now, and how long each has run."""

    def __init__(self) -> None:
        self.current = REST
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self.current != REST:
                return function(*args, **kwargs)
            self.current, began = part, time.perf_counter()
            try:
                with record_function(f"part: {part}"):
                    return function(*args, **kwargs)
            finally:
                self.current = REST
                self.seconds[part] += time.perf_counter() - began

        return wrapped


@contextmanager
def divided(update: BareUpdate) -> Iterator[Parts]:
    """The same update in parts, inside the block."""
    parts = Parts()
    places: list[tuple[Any, str, str]] = [
        (torch.Tensor, "backward", "backward"),
        (bare_update, "step_if_finite", "optimizer"),
    ]
    for owner, found in ((update.model, MODEL_PARTS), (home, MODULE_PARTS), (update.model.critic, CRITIC_PARTS)):
        places += [(owner, name, part) for part, names in found.items() for name in names if hasattr(owner, name)]
    patches = [patch.object(owner, name, parts.wrap(part, getattr(owner, name))) for owner, name, part in places]
    for each in patches:
        each.start()
    try:
        yield parts
    finally:
        for each in reversed(patches):
            each.stop()


def part_ms(update: BareUpdate, updates: int) -> dict[str, float]:
    """ms of each part per update; the rest is what no stopwatch saw."""
    with divided(update) as parts:
        began = time.perf_counter()
        for number in range(updates):
            update(number)
        whole = time.perf_counter() - began
    found = {part: 1e3 * seconds / updates for part, seconds in parts.seconds.items()}
    return found | {REST: 1e3 * whole / updates - sum(found.values())}


def part_work(update: BareUpdate) -> dict[str, Work]:
    with divided(update) as parts, WorkCounter(lambda: parts.current) as counter:
        update(0)
    work: dict[str, Work] = counter.work
    return work


def part_operators(update: BareUpdate, updates: int) -> dict[str, dict[str, tuple[float, int]]]:
    """Part to operator to (own CPU ms per update, calls per update)."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0]))
    with divided(update), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for number in range(updates):
            update(number)
    events: Any = profiler.events()
    for event in events:
        if event.name.startswith("part: "):
            continue
        entry = found[_part_of(event)][event.name]
        entry[0] += 1e-3 * event.self_cpu_time_total / updates
        entry[1] += 1
    return {
        part: {name: (ms, round(calls / updates)) for name, (ms, calls) in operators.items()}
        for part, operators in found.items()
    }


def _part_of(event: Any) -> str:
    while event is not None:
        if event.name.startswith("part: "):
            return str(event.name.removeprefix("part: "))
        event = event.cpu_parent
    return REST


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    update = BareUpdate(algorithm_settings(args.overrides), image=args.image)
    cpu = torch.device("cpu")
    seconds_of(update, cpu, updates=max(2, args.updates // 5), pieces=1)
    figures = seconds_of(update, cpu, updates=max(1, args.updates // 5), pieces=5)
    work, ms = part_work(update), part_ms(update, args.updates)
    peaks = {dtype: gemm_peak(cpu, dtype) for dtype in (torch.float32, torch.bfloat16)}
    settings = update.settings
    print(
        f"{'64 px image' if args.image else 'state'}, batch {settings.optimization.batch_size}, "
        f"{median_ms(figures):.2f} ms per update [{1e3 * min(figures):.2f}, {1e3 * max(figures):.2f}], "
        f"{1e3 / median_ms(figures):.1f} updates/s, one thread, torch {torch.__version__}"
    )
    print("measured peak: " + ", ".join(f"{_name(dtype)} {peak / 1e9:.0f} GFLOP/s" for dtype, peak in peaks.items()))
    _print_parts(ms, work, peaks)
    _print_operators(part_operators(update, args.updates), args.operators)


def _print_parts(ms: dict[str, float], work: dict[str, Work], peaks: dict[torch.dtype, float]) -> None:
    whole = sum(ms.values())
    rows = [
        (part, spent, work.get(part, Work({}, 0.0))) for part, spent in sorted(ms.items(), key=lambda item: -item[1])
    ]
    print(f"\n{'part':24}{'ms':>8}{'share':>8}{'GFLOP':>9}{'GFLOP/s':>9}{'of peak':>9}{'MB moved':>10}  dtypes")
    for part, spent, each in [*rows, ("all", whole, total(work))]:
        flops = sum(each.flops.values())
        ideal_ms = sum(1e3 * count / peaks.get(dtype, peaks[torch.float32]) for dtype, count in each.flops.items())
        print(
            f"{part:24}{spent:8.2f}{100 * spent / whole:7.1f}%{flops / 1e9:9.3f}{flops / spent / 1e6:9.1f}"
            f"{100 * ideal_ms / spent:8.1f}%{each.moved_bytes / 1e6:10.1f}  {' '.join(map(_name, each.flops))}"
        )


def _print_operators(parts: dict[str, dict[str, tuple[float, int]]], top: int) -> None:
    whole = sum(ms for operators in parts.values() for ms, _ in operators.values())
    print(f"\noperators by their own CPU time (torch.profiler, whose own cost is in them): {whole:.2f} ms per update")
    for part, operators in sorted(parts.items(), key=lambda item: -sum(ms for ms, _ in item[1].values())):
        of_part = sum(ms for ms, _ in operators.values())
        calls = sum(count for _, count in operators.values())
        print(f"{part}: {of_part:.2f} ms, {100 * of_part / whole:.1f} %, {calls} calls")
        for name, (ms, count) in sorted(operators.items(), key=lambda item: -item[1][0])[:top]:
            print(f"    {name[:50]:52}{ms:8.3f} ms{100 * ms / whole:7.1f}%{count:6d} calls")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", action="store_true", help="64 px images; default: a 21-d state")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="a.b=c", help="over the defaults"
    )
    parser.add_argument("--updates", type=int, default=50, help="default: 50")
    parser.add_argument("--operators", type=int, default=6, help="shown per part; default: 6")
    return parser.parse_args()


if __name__ == "__main__":
    main()
