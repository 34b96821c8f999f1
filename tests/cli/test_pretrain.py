"""``am-ray pretrain`` and ``am-ray evaluate``: options, refusals, and the whole way from recipe to success rate."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from am_ray import SettingsError
from am_ray.cli.evaluate import json_mapping
from am_ray.cli.pretrain import read_config
from am_ray.settings import PretrainSettings

from .conftest import AmRay

TINY = ["--set", "algorithm.model.width=8", "--set", "algorithm.model.head_width=8", "--set", "algorithm.model.depth=1"]
RECIPE = """
arm: gantry
kinds: [box, banana, milk]
container: bin
observation: state
num_objects: [3, 3]
num_actions: [4, 6]
prelude: [0, 0]
"""


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("dataset: a\nseed: 3\ntraining: {updates: 7}\n")
    assert read_config(str(path), None, []).dataset == "a"
    settings = read_config(str(path), "b", ["training.updates=9", "algorithm.critic.discount=9e-1"])
    assert (settings.dataset, settings.seed, settings.training.updates) == ("b", 3, 9)
    assert settings.algorithm.critic.discount == 0.9
    assert read_config(None, "c", []) == PretrainSettings(dataset="c")


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("dataset: a\nsede: 3\n", [], "config.yaml: unknown setting sede. Did you mean seed?"),
        ("dataset: a\n", ["sede=3"], "command line: unknown setting sede. Did you mean seed?"),
        ("dataset: a\n", ["training.updates=0"], "command line: training: TrainingSettings.updates: got 0"),
        ("seed: 3\n", [], "dataset: not given"),
    ],
)
def test_refusals_name_the_place(am_ray: AmRay, tmp_path: Path, text: str, overrides: list[str], expected: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    options = [part for override in overrides for part in ("--set", override)]
    run = am_ray("pretrain", path, "--storage", tmp_path / "runs", *options)
    assert run.code == 2
    assert expected in run.stderr
    assert not (tmp_path / "runs").exists()


def test_json_options_of_evaluate_are_objects() -> None:
    assert json_mapping("--env-kwargs", '{"a": [1, 2]}') == {"a": [1, 2]}
    for text in ("", "{a: 1}", "[1]", "3"):
        with pytest.raises(SettingsError, match="--env-kwargs"):
            json_mapping("--env-kwargs", text)


def test_evaluate_refuses_two_ways_of_naming_tasks(am_ray: AmRay, tmp_path: Path) -> None:
    run = am_ray("evaluate", tmp_path, "--tasks", "a", "--reset-options", '{"task": "a"}')
    assert run.code == 2 and "expected one of them" in run.stderr


@pytest.mark.parametrize("place", ["a-file/results.json", "a-folder"])
def test_evaluate_finds_out_first_whether_it_can_write(
    am_ray: AmRay, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not_run(*args: object, **kwargs: object) -> None:
        raise AssertionError("the episodes ran")

    monkeypatch.setattr("am_ray.evaluation.evaluate", must_not_run)
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-folder").mkdir()
    run = am_ray("evaluate", tmp_path, "--json", tmp_path / place)
    assert run.code == 2 and "--json" in run.stderr and "cannot be written" in run.stderr


def test_looking_whether_a_file_can_be_written_changes_nothing(am_ray: AmRay, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new" / "new.json"
    old.write_text("{}")
    for path in (old, new):
        assert am_ray("evaluate", tmp_path / "no-run", "--seed", "-1", "--json", path).code == 2
    assert old.read_text() == "{}" and not new.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_from_recipe_to_success_rate(am_ray: AmRay, tmp_path: Path) -> None:
    recipe, data, runs = tmp_path / "recipe.yaml", tmp_path / "data", tmp_path / "runs"
    recipe.write_text(RECIPE)
    collected = am_ray("collect", recipe, "--out", data, "--episodes", 4, "--workers", 2, "--json").json
    assert collected["episodes"] == 4

    options = ["--dataset", data, "--storage", runs, "--run-name", "x", "--smoke-test", *TINY]
    first = am_ray("pretrain", *options, "--json").json
    assert (first["update"], first["resumed_from"], first["stopped_by"]) == (20, 0, None)
    assert Path(first["checkpoint"]).is_dir()
    again = am_ray("pretrain", *options, "--resume", "must", "--json").json
    assert (again["update"], again["resumed_from"], again["checkpoint"]) == (20, 20, first["checkpoint"])
    assert am_ray("pretrain", *options, "--resume", "never").code == 2

    shown = ["--tasks", "instance_grasping", "--episodes", 1, "--workers", 1, "--max-steps", 3]
    table = am_ray("evaluate", runs / "x", *shown, "--json", tmp_path / "out" / "result.json")
    direct = am_ray("evaluate", runs / "x", *shown, "--json", "-")
    assert "instance grasping" in table.stdout and "random" in table.stdout
    assert direct.json == json.loads((tmp_path / "out" / "result.json").read_text())
    assert direct.json["tasks"]["instance_grasping"]["n"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_and_the_same_command_goes_on(
    dataset: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    settings = ["training.updates=100000", "training.updates_per_iteration=20", "training.checkpoint_every=100000"]
    options = [part for setting in settings for part in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "am_ray.cli.main",
        "pretrain",
        "--dataset",
        str(dataset),
        "--json",
        *TINY,
        *options,
    ]
    command += ["--storage", str(tmp_path), "--run-name", "x"]
    metrics, results = tmp_path / "x" / "metrics.jsonl", []
    for round_number in (1, 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        deadline_s = time.monotonic() + 300
        before = metrics.read_text().count("\n") if metrics.exists() else 0
        while (not metrics.exists() or metrics.read_text().count("\n") <= before) and time.monotonic() < deadline_s:
            assert process.poll() is None, f"ended early in round {round_number}"
            time.sleep(0.1)
        process.send_signal(number)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == code
        results.append(json.loads(out))
        assert Path(results[-1]["checkpoint"]).is_dir()
    assert results[1]["resumed_from"] == results[0]["update"] > 0
    assert results[1]["update"] > results[0]["update"]
