"""What the studies behind docs/RESULTS.md run: commands of `am-ray`, in the order in which they build on each other.

Every step goes on where it was interrupted, and does nothing once it is done, so a study is resumed by running it again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.conditions import IMAGE, STATE, Conditions
from study.curves import CURVE_GOALS
from study.downstream import AUXILIARY_TABLE, DOWNSTREAM_TABLE, DOWNSTREAM_TABLES, FEW_TABLE, TASKS, study_name
from study.images import IMAGE_ROWS, ImageRow
from study.tables import acting_rows, curve_points

CONFIGS = "tune_configs/study"
PICTURES = "pictures"  # folder of the runs; the report copies them
# By world, in the folder of the runs.
BASELINES = {world: f"baselines/{world}.json" for world in ("tray", "point_maze")}
# Not used while settings were chosen (seed 1 was).
EVALUATION_SEED = 100
# Of the labelled data, in folders of their own: how fine-tuning's goal is fitted was chosen on those of the recipes' own seed. Their starts are in `downstream.yaml`.
UNSEEN_SEED = 5000


@dataclass(frozen=True)
class Folders:
    """Where a study keeps its data and its runs."""

    data: Path
    runs: Path


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: Of the step, and of the folder that it fills.
        command: What is run.
        product: Exists once the step is done; ``None``: the command itself knows what is left to do.
    """

    name: str
    command: tuple[str, ...]
    product: Path | None = None

    @property
    def is_done(self) -> bool:
        return self.product is not None and self.product.exists()


def state_steps(folders: Folders) -> list[Step]:
    """The study from states."""
    return [
        _collect(folders, "tray_play_state", 5000),
        _sweep(folders, "tray_play", "tray_play_state"),
        _sweep(folders, "tray_play_cloning", "tray_play_state"),
        *_act_otherwise(folders, "tray_play_cloning"),
        _sweep(folders, "tray_play_no_negatives", "tray_play_state"),
        _sweep(folders, "tray_play_no_layer_norm", "tray_play_state"),
        _sweep(folders, "tray_play_paper", "tray_play_state"),
        _collect(folders, "tray_play_state", name="tray_play_state_10k"),
        _sweep(folders, "tray_play_10k", "tray_play_state_10k"),
        _sweep(folders, "tray_play_10k_recipe", "tray_play_state_10k"),
        *_act_otherwise(folders, "tray_play_10k_recipe"),
        _sweep(folders, "tray_play_10k_no_bootstrap", "tray_play_state_10k"),
        _sweep(folders, "tray_play_10k_stay", "tray_play_state_10k"),
        *_act_otherwise(folders, "tray_play_10k_stay"),
        _sweep(folders, "tray_play_10k_stay_cloning", "tray_play_state_10k"),
        _sweep(folders, "tray_play_10k_cloning", "tray_play_state_10k"),
        *_act_otherwise(folders, "tray_play_10k_cloning"),
        *_on_the_way(folders, "tray_play_10k_recipe"),
        *_on_the_way(folders, "tray_play_10k_cloning"),
        _collect(folders, "tray_clumsy_state"),
        _sweep(folders, "tray_clumsy", "tray_clumsy_state"),
        *_act_otherwise(folders, "tray_clumsy"),
        _sweep(folders, "tray_clumsy_far_negatives", "tray_clumsy_state"),
        *_act_otherwise(folders, "tray_clumsy_far_negatives"),
        _sweep(folders, "tray_clumsy_cloning", "tray_clumsy_state"),
        _collect(folders, "tray_uncut_state"),
        _sweep(folders, "tray_uncut", "tray_uncut_state"),
        *_act_otherwise(folders, "tray_uncut"),
        _sweep(folders, "tray_uncut_cloning", "tray_uncut_state"),
        _sweep(folders, "tray_uncut_cloning_longer", "tray_uncut_state"),
        _collect(folders, "tray_stitch_state"),
        _sweep(folders, "tray_stitch_recipe", "tray_stitch_state"),
        *_act_otherwise(folders, "tray_stitch_recipe"),
        *[
            _sweep(folders, f"tray_stitch_{name}", "tray_stitch_state")
            for name in (
                "no_junctions",
                "behavior",
                "no_bootstrap",
                "no_links",
                "no_links_cloning",
                "recipe_cloning",
                "cloning_longer",
                "stay",
                "stay_cloning",
            )
        ],
        *_act_otherwise(folders, "tray_stitch_recipe_cloning"),
        _collect(folders, "tray_stitch_state", 20_000, name="tray_stitch_state_20k"),
        _sweep(folders, "tray_stitch_20k", "tray_stitch_state_20k"),
        _sweep(folders, "tray_stitch_20k_cloning", "tray_stitch_state_20k"),
        _point_maze(folders, 5000),
        _sweep(folders, "point_maze", "point_maze"),
        _sweep(folders, "point_maze_cloning", "point_maze"),
        *_act_otherwise(folders, "point_maze_cloning"),
        _baselines(folders, "point_maze", folders.runs / "point_maze_cloning" / "trials" / "seed=0"),
        *[
            step
            for task in TASKS
            for step in (_collect_unseen(folders, task), _finetune(folders, DOWNSTREAM_TABLE, task))
        ],
        *[_finetune(folders, table, task) for table in (FEW_TABLE, AUXILIARY_TABLE) for task in TASKS],
        _baselines(folders, "tray", Path("checkpoints", STATE.checkpoint)),
        *_generalisation(folders, STATE),
        _pictures(folders, "tray_play_state"),
        _pictures(folders, "tray_stitch_state"),
    ]


def image_steps(folders: Folders) -> list[Step]:
    """The study from images."""
    return [
        _collect(folders, "tray_play_image64"),
        _pack(folders, images_only=False),
        _pack(folders, images_only=True),
        *_train_and_evaluate(folders, IMAGE_ROWS),
        *_generalisation(folders, IMAGE),
        _pictures(folders, "tray_play_image"),
    ]


def _collect(
    folders: Folders, recipe: str, episodes: int | None = None, *, name: str | None = None, seed: int | None = None
) -> Step:
    name = name or recipe
    out = folders.data / name
    size = () if episodes is None else ("--episodes", str(episodes))
    own_seed = () if seed is None else ("--seed", str(seed))
    command = ("am-ray", "collect", f"datasets/{recipe}.yaml", *size, *own_seed, "--out", str(out))
    return Step(f"collect {name}", command, out / "meta" / "manifest.json")


def _unseen(task: str) -> str:
    return f"downstream_{task}_unseen"


def _collect_unseen(folders: Folders, task: str) -> Step:
    return _collect(folders, f"downstream_{task}", name=_unseen(task), seed=UNSEEN_SEED)


def _packed(folders: Folders, *, images_only: bool) -> Path:
    return folders.data / ("packed_images_only" if images_only else "packed_images")


def _pack(folders: Folders, *, images_only: bool) -> Step:
    out = _packed(folders, images_only=images_only)
    options = ("--images-only",) if images_only else ()
    source = str(folders.data / "tray_play_image64")
    command = (sys.executable, "-m", "study.packed", source, "--out", str(out), *options)
    return Step(f"pack {out.name}", command, out / "description.json")


def _train_and_evaluate(folders: Folders, rows: Sequence[ImageRow]) -> list[Step]:
    """Each network is trained once, whatever the number of rows that show it."""
    steps: dict[str, Step] = {}
    for row in rows:
        for seed in row.seeds:
            out = folders.runs / row.folder(seed)
            data = ("--data", str(_packed(folders, images_only=row.images_only)), "--out", str(out))
            changes = [option for change in row.changes for option in ("--set", change)]
            train = (sys.executable, "-m", "study.gpu_training", f"{CONFIGS}/{row.config}.yaml", *data, *changes)
            name = f"train images {row.run}, seed {seed}"
            steps.setdefault(name, Step(name, (*train, "--seed", str(seed)), out / "manifest.json"))
            name = f"evaluate images {row.key}, seed {seed}"
            steps[name] = _evaluate(name, out, folders.runs / row.evaluation(seed), row.acting)
    return list(steps.values())


def _act_otherwise(folders: Folders, sweep: str) -> list[Step]:
    """A sweep's networks once more, acting in other ways."""
    return [
        _evaluate(
            f"evaluate {row.key}, seed {seed}",
            folders.runs / row.folder(seed),
            folders.runs / row.evaluation(seed),
            row.acting,
        )
        for row in acting_rows(sweep)
        for seed in row.seeds
    ]


def _on_the_way(folders: Folders, sweep: str) -> list[Step]:
    """The checkpoints before the last of a sweep's trials."""
    return [
        _evaluate(
            f"evaluate {row.key} after {row.updates} updates, seed {seed}",
            folders.runs / row.checkpoint(seed),
            folders.runs / row.evaluation(seed),
            episodes=CURVE_GOALS,
        )
        for row in curve_points(sweep)
        for seed in row.seeds
    ]


def _evaluate(
    name: str,
    checkpoint: Path,
    out: Path,
    acting: str | None = None,
    *,
    episodes: int = 200,
    baselines: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Step:
    options = ["--episodes", str(episodes), "--seed", str(EVALUATION_SEED)]
    if not baselines:
        options += ["--no-baselines"]
    options += ["--json", str(out)]
    if acting is not None:
        options += ["--acting", acting]
    if env_kwargs is not None:
        options += ["--env-kwargs", json.dumps(env_kwargs)]
    return Step(name, ("am-ray", "evaluate", str(checkpoint), *options), out)


def _point_maze(folders: Folders, episodes: int) -> Step:
    out = folders.data / "point_maze"
    command = (sys.executable, "-m", "study.point_maze", "--out", str(out), "--episodes", str(episodes), "--seed", "0")
    return Step("collect point_maze", command, out / "meta" / "manifest.json")


def _baselines(folders: Folders, world: str, checkpoint: Path) -> Step:
    """Random actions and the oracle, on the goals of all tables of a world; whose checkpoint is beside them does not matter."""
    return _evaluate(f"baselines of {world}", checkpoint, folders.runs / BASELINES[world], baselines=True)


def _sweep(folders: Folders, name: str, dataset: str) -> Step:
    options = ("--dataset", str(folders.data / dataset), "--storage", str(folders.runs), "--run-name", name)
    return Step(f"sweep {name}", ("am-ray", "sweep", f"{CONFIGS}/{name}.yaml", *options))


def _finetune(folders: Folders, table: str, task: str) -> Step:
    name = study_name(table, task)
    unlabelled = ("--unlabelled", str(folders.data / "tray_play_state_10k")) if table == AUXILIARY_TABLE else ()
    data = ("--dataset", str(folders.data / _unseen(task)), *unlabelled)
    config, *changes = DOWNSTREAM_TABLES[table]
    changed = [word for change in changes for word in ("--set", change)]
    options = ("--storage", str(folders.runs), "--run-name", name)
    return Step(f"finetune {name}", ("am-ray", "finetune", f"{CONFIGS}/{config}.yaml", *data, *options, *changed))


def _pictures(folders: Folders, checkpoint: str) -> Step:
    out = folders.runs / PICTURES / checkpoint
    options = ("--out", str(out), "--seed", str(EVALUATION_SEED))
    command = (sys.executable, "-m", "study.pictures", f"checkpoints/{checkpoint}", *options)
    return Step(f"pictures of {checkpoint}", command, out.with_name(f"{checkpoint}_panels.png"))


def _generalisation(folders: Folders, conditions: Conditions) -> list[Step]:
    """A shipped checkpoint under other conditions than those of its data."""
    return [
        _evaluate(
            f"evaluate {conditions.checkpoint}, {condition.label}",
            Path("checkpoints", conditions.checkpoint),
            folders.runs / conditions.file(condition),
            env_kwargs=condition.env_kwargs,
        )
        for condition in conditions.conditions
    ]
