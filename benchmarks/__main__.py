"""Every figure of docs/performance.md in one run: ``make bench``, ``make bench-quick``.

    python -m benchmarks [--quick] [--only relabel_rate ...]

Each benchmark runs in a process of its own, one after the other. Writes ``benchmarks/latest.json`` (key to figure, the machine
beside them) and a line of ``benchmarks/history.jsonl``. Exit status: 1 if a benchmark failed; a missed goal is a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.machine import commit, describe_machine

HERE = Path(__file__).parent
LATEST, HISTORY = HERE / "latest.json", HERE / "history.jsonl"
# The order in which they run: what needs no Ray first.
MODULES = (
    "start_up",
    "relabel_rate",
    "cem",
    "sim_rate",
    "path_ratio",
    "ingest_rate",
    "rllib_ratio",
    "learners",
    "memory",
)
TIMEOUT_S = 900.0

Figures = dict[str, dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--quick", action="store_true", help="the same keys from fewer repeats")
    parser.add_argument(
        "--only", nargs="+", choices=MODULES, default=MODULES, metavar="MODULE", help=", ".join(MODULES)
    )
    args = parser.parse_args()
    began = time.perf_counter()
    figures: Figures = {}
    failed = []
    for module in args.only:
        found = _run(module, args.quick)
        figures |= found
        if not found:
            failed.append(module)
    seconds = time.perf_counter() - began
    print(f"\n{describe_machine()['text']}\n{_table(figures)}\n{seconds:.0f} s")
    if failed:
        print(f"failed: {', '.join(failed)} (see above)", file=sys.stderr)
    if set(args.only) == set(MODULES):
        _record(figures, quick=args.quick, seconds=seconds)
    return 1 if failed else 0


def _run(module: str, quick: bool) -> Figures:
    """The figures of one benchmark; none if it fails."""
    print(f"== {module}", flush=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", "--out", str(out), *(["--quick"] if quick else [])]
        try:
            status = subprocess.run(command, cwd=HERE.parent, env=_environment(), timeout=TIMEOUT_S).returncode
        except subprocess.TimeoutExpired:
            status = -1
        print(f"   {time.perf_counter() - began:.0f} s" + (f", exit status {status}" if status else ""), flush=True)
        figures: Figures = json.loads(out.read_text()) if status == 0 and out.is_file() else {}
    return figures


def _environment() -> dict[str, str]:
    """One thread for each process, as learners have it, and a Ray of its own."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**kept, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def _table(figures: Figures) -> str:
    rows = [("key", "figure", "of repeats", "goal", "verdict", "note")]
    for key, goal in GOALS.items():
        if key not in figures:
            rows.append((key, "-", "-", goal.text, "not measured", ""))
            continue
        found = figures[key]
        figure, low, high = (_number(found[name]) for name in ("value", "low", "high"))
        spread = f"[{low}, {high}] of {found['repeats']}"
        rows.append(
            (key, f"{figure} {goal.unit}".strip(), spread, goal.text, goal.verdict(found["value"]), found["note"])
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _record(figures: Figures, *, quick: bool, seconds: float) -> None:
    facts = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seconds": round(seconds),
        **commit(),
    }
    flat: dict[str, Any] = {key: figures[key]["value"] for key in GOALS if key in figures}
    flat |= {"machine": describe_machine(), "run": facts}
    LATEST.write_text(json.dumps(flat, indent=2) + "\n")
    with HISTORY.open("a") as file:
        file.write(json.dumps(flat) + "\n")


if __name__ == "__main__":
    sys.exit(main())
