"""``python -m benchmarks``: goals, modules, and what happens when one fails."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks.goals import GOALS, Goal


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (Goal("", "", at_least=0.9), 0.9, "met"),
        (Goal("", "", at_least=0.9), 0.8999, "missed"),
        (Goal("", "", at_most=1.1), 1.1, "met"),
        (Goal("", "", at_most=1.1), 1.1001, "missed"),
        (Goal("", ""), 1e9, "reported"),
    ],
)
def test_verdicts_at_the_bounds(goal: Goal, value: float, verdict: str) -> None:
    assert goal.verdict(value) == verdict


def test_goals_have_one_bound_at_most() -> None:
    for key, goal in GOALS.items():
        assert goal.at_least is None or goal.at_most is None, key
    assert (GOALS["help_s"].text, GOALS["sim_rate"].text, GOALS["cem_ms"].text) == ("<= 0.5", ">= 120", "-")


@pytest.mark.parametrize("module", bench.MODULES)
def test_every_module_measures(module: str) -> None:
    """Read, not imported: some of them import Ray."""
    tree = ast.parse((bench.HERE / f"{module}.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in functions["measure"].args.args] == ["quick"]
    assert ast.unparse(tree.body[-1]).endswith("main(measure, __doc__)")
    assert ast.get_docstring(tree)


def test_every_goal_is_some_modules() -> None:
    """Each key is written out in a module's text, so that a reader finds where the figure comes from."""
    sources = [(bench.HERE / f"{module}.py").read_text() for module in bench.MODULES]
    assert [key for key in GOALS if not any(re.search(rf"\b{key}\b", source) for source in sources)] == []


def run_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcomes: dict[str, dict[str, Any] | int], *options: str
) -> int:
    """`main` with modules that write these figures, or end with that status."""
    monkeypatch.setattr(bench, "MODULES", tuple(outcomes))
    monkeypatch.setattr(bench, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(bench, "HISTORY", tmp_path / "history.jsonl")
    monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
    monkeypatch.setattr(bench, "describe_machine", lambda: {"text": "a machine"})
    monkeypatch.setattr(bench, "commit", lambda: {"commit": "c0ffee"})

    def fake(command: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        outcome = outcomes[command[2].removeprefix("benchmarks.")]
        assert kwargs["env"]["OMP_NUM_THREADS"] == "1"
        if isinstance(outcome, int):
            return subprocess.CompletedProcess(command, outcome)
        if not outcome:
            raise subprocess.TimeoutExpired(command, kwargs["timeout"])
        Path(command[command.index("--out") + 1]).write_text(json.dumps(outcome))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", fake)
    return bench.main()


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value, "high": value, "repeats": 1, "note": ""}


def test_all_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_with(monkeypatch, tmp_path, {"cem": {"cem_ms": figure(7.0)}, "start_up": {"help_s": figure(0.6)}}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["cem_ms", "7"] and "reported" in line for line in lines)
    assert any(line.startswith("help_s") and "missed" in line for line in lines)  # a figure, no failure
    latest = json.loads((tmp_path / "latest.json").read_text())
    assert (latest["cem_ms"], latest["help_s"], latest["run"]["commit"]) == (7.0, 0.6, "c0ffee")
    assert json.loads((tmp_path / "history.jsonl").read_text()) == latest


@pytest.mark.parametrize("outcome", [3, {}], ids=["exits with 3", "times out"])
def test_a_module_that_fails(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    outcome: dict[str, Any] | int,
) -> None:
    assert run_with(monkeypatch, tmp_path, {"cem": outcome, "start_up": {"help_s": figure(0.4)}}) == 1
    shown = capsys.readouterr()
    assert shown.err == "failed: cem (see above)\n"
    rows = {line.split()[0]: line for line in shown.out.splitlines() if line}
    assert "met" in rows["help_s"]
    assert "not measured" in rows["cem_ms"]


def test_a_part_of_them_is_not_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    modules: dict[str, dict[str, Any] | int] = {"cem": {"cem_ms": figure(7.0)}, "start_up": 1}
    assert run_with(monkeypatch, tmp_path, modules, "--only", "cem") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_does_not_exist_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real process, not a stand-in."""
    assert bench._run("no_such_module", quick=True) == {}
