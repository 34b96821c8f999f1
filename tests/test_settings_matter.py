"""Every setting is tested: by name, in a test that changes it and looks at the result."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray import settings as settings_module
from am_ray import study_settings as study_settings_module
from am_ray.data.writer import write_dataset
from am_ray.pretraining import pretrain
from am_ray.settings import AlgorithmSettings, ModelSettings, OptimizationSettings, PretrainSettings, TrainingSettings
from am_ray.types import Trajectory

TESTS = Path(__file__).parent

# Field -> file and test. A setting of the machinery, which must not change the numbers, has a test that it does not.
_LOSS = "models/test_actionable_model.py::test_every_setting_of_the_loss_changes_it"
_SEARCH = "models/test_settings_matter.py::test_every_setting_of_the_search_changes_the_action"
_NETWORKS = "models/test_settings_matter.py::test_every_setting_of_the_networks_changes_the_loss"
_VECTORS = "models/test_settings_matter.py::test_every_setting_of_vectors_changes_the_loss"
_CLONING = "models/test_settings_matter.py::test_every_setting_of_cloning_changes_the_loss"
_AUXILIARY = "models/test_settings_matter.py::test_the_auxiliary_cloning_loss_teaches_the_critics_encoder"
_LIKELY = "models/test_settings_matter.py::test_acting_likely_takes_the_mean_of_the_best_quarter_of_what_the_head_draws"
_BEHAVIOR = "models/test_learning.py::test_with_negatives_of_the_behaviour_q_says_which_action_leads_to_the_goal"
_TWO_VALUED = (
    "models/test_settings_matter.py::test_uniform_actions_of_two_valued_entries_change_the_loss_and_the_action"
)
_SHOWN = "models/test_settings_matter.py::test_every_setting_of_what_is_shown_changes_the_loss"
_MIRROR = "models/test_augmentation.py::test_a_mirror_turns_images_and_the_named_entries_of_half_the_transitions"
_WEIGHTS = "algorithm/test_settings_matter.py::test_a_setting_of_training_changes_the_trained_weights"
_RESOURCES = "algorithm/test_settings_matter.py::test_resources_are_what_ray_is_asked_for"
_DRAW = "data/test_settings_matter.py::test_settings_of_the_draw_change_the_blocks"
_MACHINERY = "data/test_settings_matter.py::test_settings_of_the_machinery_do_not"
_LINKS = "data/test_settings_matter.py::test_settings_of_links_change_the_goals"
_RUN = "test_settings_matter.py::test_every_setting_of_a_run_changes_what_it_leaves"
_TASK = "algorithm/test_task.py::test_every_setting_of_a_task_changes_what_is_learnt"
_CELLS = "finetuning/test_cells.py::"
_REFUSED_CELLS = f"{_CELLS}test_what_cannot_work_is_refused_before_anything_is_written"
WHERE: dict[str, dict[str, str]] = {
    "RelabelSettings": dict.fromkeys(
        ["chaining_ratio", "chaining_window", "past_share", "goal_sampling", "last_state_share", "next_state_share"],
        _WEIGHTS,
    )
    | dict.fromkeys(["chaining_neighbors", "chaining_distance", "chaining_entries", "junction_share"], _LINKS)
    | dict.fromkeys(["stay_share", "stay_entries", "goal_jitter", "goal_jitter_entries"], _SHOWN),
    "CriticLossSettings": dict.fromkeys(
        [
            "loss",
            "discount",
            "chained_end",
            "monte_carlo_bound",
            "bootstrap",
            "negative_ratio",
            "negative_weight",
            "negative_estimator",
            "negative_draws",
            "negative_temperature",
            "negative_score",
            "negative_uniform",
            "negative_data",
            "negative_perturbed",
            "perturbation_std",
            "perturbation_flip",
            "final_state_negatives",
            "target_uniform",
            "target_data",
            "target_next_action",
            "target_cem_iterations",
        ],
        _LOSS,
    )
    | {"cloning_weight": _AUXILIARY, "acting": _LIKELY, "likely_samples": _LIKELY, "negative_behavior": _BEHAVIOR}
    | {"binary_uniform": _TWO_VALUED},
    "CemSettings": dict.fromkeys(["num_samples", "num_iterations", "num_elites", "data_share", "min_std"], _SEARCH),
    "ModelSettings": dict.fromkeys(
        [
            "width",
            "depth",
            "head_width",
            "head_depth",
            "layer_norm",
            "image_channels",
            "image_blocks",
            "mirror_action",
            "image_shift",
            "proposal",
            "proposal_samples",
        ],
        _NETWORKS,
    )
    | dict.fromkeys(["goal_difference", "entity_slots", "entity_width"], _VECTORS)
    | {"task_goal": _TASK, "mirror_state": _MIRROR},
    "OptimizationSettings": {
        **dict.fromkeys(
            ["learning_rate", "batch_size", "max_gradient_norm", "weight_decay", "target_update_rate", "precision"],
            _WEIGHTS,
        ),
        "acting_average_rate": "algorithm/test_settings_matter.py::"
        "test_acting_average_rate_changes_the_acting_weights_alone",
        "decay_share": "algorithm/test_learner.py::test_the_rate_falls_to_zero_over_the_last_share_of_the_updates",
        "max_skipped_updates": "algorithm/test_learner.py::test_too_many_skips_in_a_row_stop_training",
    },
    "CloningSettings": dict.fromkeys(["num_components", "binary_entries", "min_std"], _CLONING)
    | {"act": "models/test_settings_matter.py::test_act_decides_what_cloning_does_of_its_density"},
    "AlgorithmSettings": {"method": "algorithm/test_settings_matter.py::test_method_decides_what_is_trained"},
    "TaskSettings": dict.fromkeys(
        [
            "label",
            "success_at",
            "success_share",
            "goal_start",
            "goal_weight_cost",
            "initial",
            "auxiliary",
            "auxiliary_ratio",
        ],
        _TASK,
    ),
    "IngestSettings": {
        "mode": "data/test_ingest.py::test_auto_is_resident_while_the_shard_fits",
        "memory_budget_gb": "data/test_ingest.py::test_auto_is_resident_while_the_shard_fits",
        **dict.fromkeys(["window_rows", "samples_per_transition", "batches_per_block"], _DRAW),
        "reservoir_rows": "data/test_ingest.py::test_chained_goals_cross_files",
        **dict.fromkeys(["num_workers", "windows_per_pipeline"], _MACHINERY),
        "decoded_cache": "data/test_ingest.py::test_the_decoded_cache_changes_nothing_but_speed",
        "skip_bad_files": "test_pretraining.py::test_damaged_files_are_left_out_only_when_asked",
    },
    "ResourceSettings": dict.fromkeys(["num_learners", "num_cpus_per_learner", "num_gpus_per_learner"], _RESOURCES),
    "TrainingSettings": {
        **dict.fromkeys(["updates", "updates_per_iteration", "checkpoint_every", "keep_checkpoints"], _RUN),
        "max_minutes": "test_settings_matter.py::test_max_minutes_ends_a_run_that_is_not_done",
    },
    "PretrainSettings": {
        "dataset": "test_pretraining.py::test_data_written_anew_at_the_same_path_are_other_data",
        "seed": _WEIGHTS,
    },
    "EvaluationSettings": {
        **dict.fromkeys(
            ["tasks", "episodes", "seed", "env", "env_kwargs", "max_steps"],
            "trials/test_process.py::test_every_setting_of_evaluation_changes_what_is_tried",
        ),
        "every": "trials/test_process.py::test_trials_are_evaluated_on_the_way",
    },
    "SchedulerSettings": {
        "name": "trials/test_asha.py::test_a_worse_trial_is_stopped_in_tune_and_stays_so",
        **dict.fromkeys(["grace_updates", "reduction_factor"], "trials/test_asha.py::test_settings_place_the_rungs"),
    },
    "SweepSettings": {
        **dict.fromkeys(
            ["search", "num_samples", "search_seed"],
            "sweep/test_search.py::test_draws_repeat_the_grid_and_depend_on_the_seed_alone",
        ),
        **dict.fromkeys(["metric", "mode"], "sweep/test_results.py::test_seeds_are_averaged_and_settings_ranked"),
        "max_concurrent_trials": "sweep/test_running.py::test_the_engine_is_told_what_the_file_says",
        "max_failures": "sweep/test_running.py::test_the_engine_is_told_what_the_file_says",
    },
    "FinetuneSettings": {
        **dict.fromkeys(["labelled", "pretrained", "max_concurrent", "max_failures"], _REFUSED_CELLS),
        **dict.fromkeys(["arms", "unlabelled"], f"{_CELLS}test_the_arms_of_a_cell_differ_in_their_start_alone"),
        **dict.fromkeys(
            ["episodes", "seeds"], f"{_CELLS}test_cells_are_arms_times_sizes_times_seeds_with_arms_side_by_side"
        ),
        "learning_rates": f"{_CELLS}test_an_arm_may_have_a_learning_rate_of_its_own",
        "tuning_trials": f"{_CELLS}test_tuning_trials_are_an_arms_own",
    },
}


def settings_fields() -> set[tuple[str, str]]:
    """(class, field) of all settings, without the fields that hold another class of settings."""
    classes = [
        value
        for module in (settings_module, study_settings_module)
        for value in vars(module).values()
        if dataclasses.is_dataclass(value) and value.__module__.startswith(module.__name__)
    ]
    return {
        (cls.__name__, entry.name)  # type: ignore[union-attr]
        for cls in classes
        for entry in dataclasses.fields(cls)
        if entry.default_factory not in classes and entry.name in cls.__annotations__
    }


def source_of(place: str) -> str:
    """The text of a test with its decorators; nothing where there is no such test."""
    file, name = place.split("::")
    text = (TESTS / file).read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    return ""


def test_every_setting_is_named_in_a_test_that_changes_it() -> None:
    """A new setting needs a test, and a line above that says where it is."""
    listed = {(cls, name): place for cls, fields in WHERE.items() for name, place in fields.items()}
    assert listed.keys() == settings_fields()
    assert [key for key, place in listed.items() if not re.search(rf"\b{key[1]}\b", source_of(place))] == []


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> str:
    path, rng = tmp_path_factory.mktemp("settings") / "points", np.random.default_rng(0)
    trajectories = [
        Trajectory({"state": rng.normal(size=(6, 2)).astype(np.float32)}, rng.uniform(-1, 1, (5, 2)).astype(np.float32))
        for _ in range(10)
    ]
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    return str(path)


def settings_for(points: str, **training: Any) -> PretrainSettings:
    return PretrainSettings(
        dataset=points,
        algorithm=AlgorithmSettings(
            model=ModelSettings(width=8, depth=1, head_width=8, head_depth=1),
            optimization=OptimizationSettings(batch_size=8),
        ),
        training=TrainingSettings(**training),
    )


@pytest.mark.parametrize(
    ("change", "iterations", "checkpoints"),
    [
        ({}, [2, 4, 6, 8], [4, 8]),
        ({"updates": 6}, [2, 4, 6], [4, 6]),
        ({"updates_per_iteration": 4}, [4, 8], [4, 8]),
        ({"checkpoint_every": 2}, [2, 4, 6, 8], [2, 4, 6, 8]),
        ({"keep_checkpoints": 1}, [2, 4, 6, 8], [8]),
    ],
    ids=str,
)
def test_every_setting_of_a_run_changes_what_it_leaves(
    points: str, tmp_path: Path, change: dict[str, Any], iterations: list[int], checkpoints: list[int]
) -> None:
    base = {"updates": 8, "updates_per_iteration": 2, "checkpoint_every": 4, "keep_checkpoints": 9}
    seen: list[int] = []
    result = pretrain(
        settings_for(points, **(base | change)),
        run_name="a",
        storage=tmp_path,
        on_progress=lambda progress: seen.append(progress.update),
    )
    assert seen == iterations
    assert sorted(int(path.name.split("-")[1]) for path in result.run_dir.glob("checkpoint-*")) == checkpoints


def test_max_minutes_ends_a_run_that_is_not_done(points: str, tmp_path: Path) -> None:
    settings = settings_for(points, updates=10**6, updates_per_iteration=2, max_minutes=0.005)
    result = pretrain(settings, run_name="a", storage=tmp_path)
    assert 0 < result.update < 10**6
    # The limit is one call's: the same command goes on.
    again = pretrain(settings, run_name="a", storage=tmp_path)
    assert result.update == again.resumed_from < again.update
