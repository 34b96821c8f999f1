"""A rehearsal runs every step of the study, small, and touches nothing that is published."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import apply_overrides, load_yaml
from am_ray.study_settings import StudySettings
from study import __main__ as study_main
from study import gpu_training, rehearsal
from study.downstream import FEW_TABLE
from study.plan import image_steps, state_steps
from tests.study.steps import STEPS, arguments

ROOT = Path(__file__).parents[2]
SMALL = rehearsal.FOLDERS
SMALL_STEPS = [rehearsal.rehearsed(step) for step in (*state_steps(SMALL), *image_steps(SMALL))]


def test_a_rehearsal_has_every_step_small_and_in_folders_of_its_own() -> None:
    assert [step.name for step in SMALL_STEPS] == [step.name for step in STEPS]
    collected, finished = {}, {}
    for step in SMALL_STEPS:
        words, args = step.command, arguments(step)
        assert not any(word.startswith(("data/", "runs/")) and "/rehearsal" not in word for word in words), step
        if step.name.startswith("collect"):
            collected[args.out] = args.episodes
            assert args.episodes <= 210
        elif words[1] in ("sweep", "finetune"):
            settings = read_settings(
                StudySettings, apply_overrides(load_yaml(ROOT / words[2]), args.overrides), words[2]
            )
            training = settings.training
            assert (training.updates, settings.evaluation.episodes, args.no_tracking) == (30, 1, True)
            assert args.dataset in collected
            if words[1] == "finetune":
                assert max(settings.finetune.episodes) <= collected[args.dataset] and len(settings.finetune.seeds) == 1
                assert settings.finetune.episodes == ((10,) if FEW_TABLE in step.name else (25,))
            kept = range(training.updates, 0, -training.checkpoint_every)[: training.keep_checkpoints]
            finished[f"runs/rehearsal/{args.run_name}"] = kept
        elif words[1] == "evaluate":
            assert args.episodes == 1
            if (named := re.fullmatch(r"(.*)/trials/seed=\d/checkpoint-(\d{9})", args.checkpoint)) is not None:
                assert int(named[2]) in finished[named[1]]
        elif words[2] == "study.gpu_training":
            assert args.updates == 5
        elif words[2] == "study.packed":
            assert collected[args.dataset] > gpu_training.HELD_OUT
        else:
            assert words[2] == "study.pictures" and args.episodes == 2


@pytest.mark.parametrize("own", [("--runs", "runs/study"), ("--data", "data")], ids=lambda own: own[0])
def test_a_rehearsal_does_not_run_where_the_study_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: tuple[str, str]
) -> None:
    monkeypatch.setattr(study_main, "state_steps", lambda folders: [])  # were it not refused, nothing would run
    monkeypatch.setattr(sys, "argv", ["study", "--rehearse", "--list", *own])
    with pytest.raises(SystemExit):
        study_main.main()
    assert "expected others. Leave --data and --runs out." in capsys.readouterr().err


@pytest.mark.slow
def test_a_rehearsal_runs_and_leaves_what_is_published_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    published = {path: path.read_bytes() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    monkeypatch.chdir(ROOT)
    words = ["study", "--rehearse", "--only", "state_10k", "10k_cloning after 5000", "sweep tray_play_10k_cloning"]
    monkeypatch.setattr(sys, "argv", [*words, "--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")])
    assert study_main.main() == 0, capfd.readouterr().out
    report = tmp_path / "runs" / "report"
    curves = json.loads((report / "results" / "learning_curves.json").read_text())["rows"]
    assert list(curves) == ["behaviour cloning (GCBC), 5,000 updates"]
    assert curves["behaviour cloning (GCBC), 5,000 updates"]["seeds"] == [0, 1, 2]
    assert "| behaviour cloning (GCBC) | 0 [0" in (report / "RESULTS.md").read_text()
    assert published == {path: path.read_bytes() for path in (ROOT / "docs").rglob("*") if path.is_file()}
