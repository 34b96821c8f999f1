"""Updates per second of the bare update on a GPU, in several ways of running it, against what the GPU can do.

    python -m benchmarks.gpu_update [--cases state_256 ...] [--modes eager ...] [--set algorithm.model.width=512 ...]
        [--updates 200] [--pieces 5] [--out FILE.json] [--device cuda]

Needs torch, NumPy, `am_ray.core` and `am_ray.models` alone. The whole update counts: loss, backward, step if finite, averages.
Batches lie on the device, random numbers come from a generator there, and the device is waited for at the end of a piece alone.
Figures are medians of pieces, after a warm-up. Modes:

    eager          the package as it is
    compile        torch.compile of the whole loss (graph breaks are counted)
    compile_parts  torch.compile of the critics' `encode` and `score`
    graph          loss and backward as one CUDA graph, the step outside it: its finiteness check waits for the device
    graph_whole    all of it as one CUDA graph: the step is skipped on the device (see `benchmarks.graphed_update`)
    compile_graph  graph_whole of the compiled loss

"differs" is the largest difference between weights after a few updates and those of `eager`, relative to the largest weight
(compiled code draws other random numbers). Peaks are measured here: a product of 8192 x 8192 matrices of the same dtype, and a
copy of 1 GiB. "of peak" is FLOPs of products and convolutions over time and peak; "of copy" is the bytes that eager's operators
read and write over time and bandwidth; "idle" is the share of the time without a kernel (torch.profiler for the kernels, the
unprofiled time for the whole). Without a GPU, ``--device cpu`` runs the same code at small sizes, as a test that it works.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from am_ray.settings import AlgorithmSettings
from benchmarks.bare_update import (
    BareUpdate,
    Work,
    WorkCounter,
    algorithm_settings,
    copy_bandwidth,
    gemm_peak,
    median_ms,
    seconds_per_update,
    total,
)
from benchmarks.graphed_update import WARM_UP, GraphedUpdate

SMALL_BATCH = 16


@dataclass(frozen=True)
class Case:
    image: bool
    batch: int
    goal: float  # updates/s


@dataclass(frozen=True)
class Row:
    """What a mode did in a case; ``reason`` says why it did not run."""

    case: str
    mode: str
    updates_per_s: float | None = None
    low: float | None = None
    high: float | None = None
    goal: float | None = None
    of_peak: float | None = None
    of_copy: float | None = None
    idle: float | None = None
    differs: float | None = None
    note: str = ""
    reason: str = ""


CASES = {
    "state_256": Case(False, 256, 1500.0),
    "state_1024": Case(False, 1024, 300.0),
    "image_256": Case(True, 256, 150.0),
}


def _compiled(update: BareUpdate) -> BareUpdate:
    update.loss = torch.compile(update.model.loss)
    return update


def _compiled_parts(update: BareUpdate) -> BareUpdate:
    for critic in (update.model.critic, update.model.target_critic):
        critic.encode, critic.score = torch.compile(critic.encode), torch.compile(critic.score)
    return update


MODES: dict[str, Callable[[BareUpdate], Callable[[int], None]]] = {
    "eager": lambda update: update,
    "compile": _compiled,
    "compile_parts": _compiled_parts,
    "graph": lambda update: GraphedUpdate(update, whole=False),
    "graph_whole": lambda update: GraphedUpdate(update, whole=True),
    "compile_graph": lambda update: GraphedUpdate(_compiled(update), whole=True),
}


@dataclass(frozen=True)
class Peaks:
    """What the device was measured to do at most: FLOP/s by dtype, bytes/s."""

    device: torch.device
    flops: dict[torch.dtype, float]
    copy: float

    @classmethod
    def of(cls, device: torch.device) -> Peaks:
        return cls(device, {torch.float32: gemm_peak(device, torch.float32)}, copy_bandwidth(device))

    def shares(self, work: Work, seconds: float) -> tuple[float, float]:
        """The shares of both that some work in some time is."""
        for dtype in work.flops.keys() - self.flops.keys():
            self.flops[dtype] = gemm_peak(self.device, dtype)
        ideal = sum(count / self.flops[dtype] for dtype, count in work.flops.items())
        return ideal / seconds, work.moved_bytes / self.copy / seconds


def run_mode(name: str, mode: str, make: Callable[[], BareUpdate], peaks: Peaks, work: Work, args: Any) -> Row:
    """A failure of a mode is a row with its reason."""
    goal = CASES[name].goal if peaks.device.type == "cuda" else None
    try:
        is_compiled = mode.startswith("compile")
        if is_compiled:
            torch._dynamo.reset()
            torch._dynamo.utils.counters.clear()
        update = make()
        run = MODES[mode](update)
        differs = _difference(update, run, make())
        breaks = sum(torch._dynamo.utils.counters["graph_break"].values()) if is_compiled else 0
        figures = seconds_per_update(run, peaks.device, updates=args.updates, pieces=args.pieces + 1)[1:]
    except Exception as error:  # of compilers and drivers: any kind
        return Row(name, mode, goal=goal, reason=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}")
    seconds = median_ms(figures) / 1e3
    of_peak, of_copy = peaks.shares(work, seconds)
    note = f"{breaks} graph breaks" if is_compiled else ""
    rates = (1.0 / seconds, 1.0 / max(figures), 1.0 / min(figures))
    return Row(name, mode, *rates, goal, of_peak, of_copy, idle_share(run, peaks.device, seconds), differs, note)


def _difference(update: BareUpdate, run: Callable[[int], None], eager: BareUpdate) -> float:
    for number in range(WARM_UP + 5):
        run(number)
        eager(number)
    pairs = list(zip(update.parameters, eager.parameters, strict=True))
    largest = max(float(p.detach().abs().max()) for p in eager.parameters)
    return max(float((a - b).detach().abs().max()) for a, b in pairs) / largest


def idle_share(run: Callable[[int], None], device: torch.device, seconds: float, updates: int = 20) -> float | None:
    """The share of ``seconds`` in which no kernel of an update runs; unknown without a GPU or its profiler."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for number in range(WARM_UP, WARM_UP + updates):
            run(number)
        torch.cuda.synchronize()
    events: Any = profiler.events()
    spans = sorted((e.time_range.start, e.time_range.end) for e in events if str(e.device_type).endswith("CUDA"))
    busy_us, reached = 0.0, 0.0
    for start, end in spans:
        busy_us += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1.0 - busy_us * 1e-6 / updates / seconds if spans else None


def measured(name: str, settings: AlgorithmSettings, peaks: Peaks, args: Any) -> list[Row]:
    case = CASES[name]
    size = case.batch if peaks.device.type == "cuda" else SMALL_BATCH
    settings = replace(settings, optimization=replace(settings.optimization, batch_size=size))

    def make() -> BareUpdate:
        return BareUpdate(settings, image=case.image, device=str(peaks.device))

    update = make()
    with WorkCounter(lambda: "all") as counter:
        update(0)
    work = total(counter.work)
    rows = []
    for mode in args.modes:
        rows.append(run_mode(name, mode, make, peaks, work, args))
        print(_text(rows[-1]), flush=True)
    return rows


def _text(row: Row) -> str:
    if row.updates_per_s is None:
        return f"{row.case:12}{row.mode:15}did not run: {row.reason}"
    verdict = "-" if row.goal is None else "met" if row.updates_per_s >= row.goal else "missed"
    goal = "-" if row.goal is None else f"{row.goal:.0f}"
    shares = "".join("      -" if x is None else f"{100 * x:6.1f}%" for x in (row.of_peak, row.of_copy, row.idle))
    spread = f"{row.updates_per_s:9.1f} [{row.low:.1f}, {row.high:.1f}]"
    return f"{row.case:12}{row.mode:15}{spread:30}{goal:>6} {verdict:7}{shares}  {row.differs:8.1e}  {row.note}"


def main() -> None:
    args = _arguments()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "torch sees no GPU. Run this where there is one, or --device cpu to see that the script works."
        )
    if device.type == "cpu":
        torch.set_num_threads(1)
        print(f"NO GPU: the CPU at batches of {SMALL_BATCH}, a test that the script works; no figure here is a GPU's")
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    peaks = Peaks.of(device)
    precision = torch.get_float32_matmul_precision()
    print(
        f"{gpu or 'CPU'}, torch {torch.__version__}, float32 products at precision {precision!r}: "
        f"{peaks.flops[torch.float32] / 1e12:.2f} TFLOP/s; copy {peaks.copy / 1e9:.0f} GB/s"
    )
    print(f"{'case':12}{'mode':15}{'updates/s':30}{'goal':>6} {'':7}{'peak':>7}{'copy':>7}{'idle':>7}  differs")
    settings = algorithm_settings(args.overrides)
    rows = [row for name in args.cases for row in measured(name, settings, peaks, args)]
    if args.out is not None:
        facts = {"gpu": gpu, "torch": torch.__version__, "precision": precision, "overrides": args.overrides}
        facts |= {"peak_flops": {str(k): v for k, v in peaks.flops.items()}, "copy_bytes_per_s": peaks.copy}
        args.out.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="default: cuda")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: all")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="a.b=c", help="over the defaults"
    )
    parser.add_argument("--updates", type=int, default=200, help="in a piece; default: 200")
    parser.add_argument("--pieces", type=int, default=5, help="default: 5")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
