"""``make demo``: the main job at a small scale, PyBullet -> Parquet -> Ray Data -> RLlib -> evaluation, then a table.

It ends in what pre-training is for: a task learnt from few labelled episodes, with and without it, compared.
The settings beside this file are the demo's defaults; they are ordinary recipe and config files, and every stage is
the public command's own function. Data that are there already are used again; training always begins anew.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.types import AmRayError

if TYPE_CHECKING:
    from rich.table import Table

    from am_ray.comparison import Comparison
    from am_ray.comparison.output import Written
    from am_ray.study_settings import StudySettings

logger = logging.getLogger(__name__)

_HERE = Path(__file__).parent
OURS, CLONING = "actionable_models", "behavior_cloning"
EVALUATION_SEED = 1


@dataclass(frozen=True)
class DemoScale:
    """How much of everything.

    Attributes:
        out: Folder for everything, unless another one is asked for.
        recipe: File name of the data's recipe, beside this module.
        config: File name of the training's config.
        episodes: Of data; ``None`` means as the recipe says.
        updates: Of the learner at most; ``None`` means as the config says.
        goals: Evaluation episodes per task.
        downstream: File name of the labelled data's recipe; empty: no fine-tuning.
        finetune: File name of the fine-tuning study's config.
        smoke: Everything of the study in its smallest size.
    """

    out: str
    recipe: str
    config: str
    episodes: int | None = None
    updates: int | None = None
    goals: int = 64
    downstream: str = ""
    finetune: str = ""
    smoke: bool = False


STATE_DEMO = DemoScale(
    "runs/demo", "recipe.yaml", "pretrain.yaml", downstream="downstream.yaml", finetune="finetune.yaml"
)
IMAGE_DEMO = DemoScale("runs/demo-images", "recipe_images.yaml", "pretrain_images.yaml")


class DemoError(AmRayError):
    """A stage of the demo ended badly; the message names its log."""


@dataclass(frozen=True)
class DemoResult:
    """The table of success rates, where the rest is, the numbers of ``summary.json``, and the comparison of arms."""

    table: Table
    footer: str
    summary: dict[str, Any]
    comparison: Comparison | None = None
    report: Written | None = None


def smoke(scale: DemoScale) -> DemoScale:
    """A minute's worth, to see that all parts work; its numbers mean nothing."""
    return replace(scale, out=f"{scale.out}-smoke", episodes=40, updates=40, goals=2, smoke=True)


def run_demo(out: Path, scale: DemoScale) -> DemoResult:
    """Runs all stages; writes ``summary.json``, ``panels.png`` and ``episode.gif`` into ``out``, beside data and runs.

    Raises:
        DemoError: A training process ended badly.
    """
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    with _Stopwatch("collect", seconds):
        _collect(out / "data", scale)
    with _Stopwatch("pretrain", seconds):
        _pretrain_side_by_side(out, scale)
    with _Stopwatch("evaluate", seconds):
        table, summary = _evaluate(out, scale)
    comparison = report = None
    if scale.finetune:
        with _Stopwatch("finetune", seconds):
            comparison, report = _finetune(out, scale)
        summary["finetune"] = comparison.to_json()
    total = time.perf_counter() - began
    summary |= {"seconds": round(total, 1), "stages": {name: round(value, 1) for name, value in seconds.items()}}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    stages = ", ".join(f"{name} {value / 60:.1f}" for name, value in seconds.items())
    footer = (
        f"{total / 60:.1f} minutes ({stages}) on {os.cpu_count()} CPUs.\n"
        f"Figure {out / 'panels.png'}, animation {out / 'episode.gif'}, numbers {out / 'summary.json'}.\n"
        f"All runs in MLflow: am-ray ui --storage {out}"
    )
    return DemoResult(table, footer, summary, comparison, report)


class _Stopwatch:
    """Says that a stage begins, and notes how long it took."""

    def __init__(self, stage: str, seconds: dict[str, float]) -> None:
        self._stage, self._seconds = stage, seconds

    def __enter__(self) -> None:
        logger.info("demo: %s", self._stage)
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds[self._stage] = time.perf_counter() - self._began


def _collect(data: Path, scale: DemoScale) -> None:
    from am_ray.collection import collect

    # Goes on with what an earlier call left, and refuses data of another recipe.
    collect(_HERE / scale.recipe, data, episodes=scale.episodes)


def _pretrain_side_by_side(out: Path, scale: DemoScale) -> None:
    """Ours and cloning at the same time, a process and a core each: the same data, the same minutes."""
    runs = {method: _start_pretraining(method, out, scale) for method in (OURS, CLONING)}
    try:
        for method, process in runs.items():
            if process.wait() != 0:
                raise DemoError(
                    f"pre-training {method} ended with exit status {process.returncode}; expected 0. "
                    f"Read {out / method}.log."
                )
    finally:
        for process in runs.values():
            process.terminate()


def _start_pretraining(method: str, out: Path, scale: DemoScale) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "am_ray", "pretrain", str(_HERE / scale.config), "--dataset", str(out / "data")]
    command += ["--storage", str(out), "--run-name", method, "--set", f"algorithm.method={method}"]
    # Both stop by the clock, so a run that exists cannot be gone on with: the demo trains anew.
    shutil.rmtree(out / method, ignore_errors=True)
    if scale.updates is not None:
        command += ["--set", f"training.updates={scale.updates}", "--set", "training.updates_per_iteration=20"]
    # A person sees the bar of ours; everything else goes to the logs.
    log = (out / f"{method}.log").open("wb")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    stderr = None if method == OURS and sys.stderr.isatty() else log
    with log:
        return subprocess.Popen(command, stdout=log, stderr=stderr, env=environment)


def _evaluate(out: Path, scale: DemoScale) -> tuple[Table, dict[str, Any]]:
    from am_ray.evaluation import evaluate, results_table, write_figure, write_gif

    workers = len(os.sched_getaffinity(0))
    ours = evaluate(
        out / OURS,
        episodes=scale.goals,
        seed=EVALUATION_SEED,
        workers=workers,
        panels_dir=out / "panels",
        panels_per_task=2,
        animations=1,
    )
    cloned = evaluate(out / CLONING, episodes=scale.goals, seed=EVALUATION_SEED, workers=workers, baselines=False)
    rows: dict[str, Any] = {"actionable models": ours.tasks, "behaviour cloning": cloned.tasks}
    rows |= {"random": ours.random, "oracle": ours.oracle}
    if ours.recordings:
        write_figure(ours.recordings, out / "panels.png")
        best = max(ours.recordings, key=lambda result: result.success)
        if best.recording is not None:
            write_gif(best.recording.frames, out / "episode.gif")
    summary = ours.to_json() | {CLONING: cloned.to_json()["tasks"]}
    kinds = ", ".join(ours.env_kwargs["kinds"])
    title = f"Tray, {ours.env_kwargs['arm']} arm, kinds {kinds}; goals from seeds that are not in the data"
    return results_table({name: results for name, results in rows.items() if results}, title=title), summary


def _finetune(out: Path, scale: DemoScale) -> tuple[Comparison, Written]:
    """A task from few labelled episodes, from fresh and from pre-trained weights; logged to MLflow, and compared."""
    from am_ray.collection import collect
    from am_ray.comparison import compare, read_study
    from am_ray.comparison.output import track_comparison, write_comparison
    from am_ray.finetuning import finetune, prepare
    from am_ray.tracking import sending

    collect(_HERE / scale.downstream, out / "labelled", episodes=scale.episodes)
    # Pre-training began anew, so what was fine-tuned from an earlier one is of another start.
    shutil.rmtree(out / "finetune", ignore_errors=True)
    study = prepare(_study_settings(out, scale), run_name="finetune", storage=out)
    with sending(study.folder):
        result = finetune(study)
        if result.stopped_by is not None:
            # As the signal would have ended this process, had the study not stopped for it in order.
            raise SystemExit(signal.SIGTERM) if result.stopped_by == signal.SIGTERM else KeyboardInterrupt
        comparison = compare(read_study(study.folder))
        written = write_comparison(comparison)
        track_comparison(comparison, written)
    return comparison, written


def _study_settings(out: Path, scale: DemoScale) -> StudySettings:
    from am_ray.settings_reader import read_settings
    from am_ray.strict_yaml import apply_overrides, load_yaml
    from am_ray.study_settings import StudySettings

    path = _HERE / scale.finetune
    mapping = load_yaml(path)
    mapping["finetune"] |= {"labelled": str(out / "labelled"), "pretrained": str(out / OURS)}
    if scale.smoke:
        tiny = ("training.updates=20", "evaluation.episodes=2", "finetune.episodes=[5]", "finetune.seeds=[0]")
        mapping = apply_overrides(mapping, tiny)
    return read_settings(StudySettings, mapping, str(path))
