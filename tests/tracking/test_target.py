"""Which MLflow: what is given, else the environment's, else a file beside the runs; and nothing that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from am_ray.tracking import TrackingError
from am_ray.tracking.target import resolve_target

from .conftest import write_run


def test_by_default_it_lies_beside_the_runs(tmp_path: Path) -> None:
    target = resolve_target(tmp_path / "runs" / "a", None)
    assert target.uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert (target.database, target.artifacts) == (tmp_path / "runs/mlflow.db", tmp_path / "runs/mlartifacts")


@pytest.mark.parametrize("place", ["runs", "runs/study", "runs/study/trials", "runs/study/trials/t"])
def test_a_study_its_trials_and_the_storage_have_the_same(tmp_path: Path, place: str) -> None:
    study = tmp_path / "runs" / "study"
    write_run(study)
    write_run(study / "trials" / "t", parent=study)
    assert resolve_target(tmp_path / place, None).uri == f"sqlite:///{tmp_path}/runs/mlflow.db"


def test_the_option_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one:5000/")
    assert resolve_target(tmp_path, None).uri == "http://one:5000"
    assert resolve_target(tmp_path, "https://two").uri == "https://two"
    assert resolve_target(tmp_path, "https://two").artifacts is None


def test_addresses_of_files_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = resolve_target(Path("runs/a"), "sqlite:///here/../x.db")
    assert target.uri == f"sqlite:///{tmp_path}/x.db" and target.artifacts == tmp_path / "mlartifacts"
    assert resolve_target(Path("runs/a"), None) == resolve_target(tmp_path / "runs" / "a", None)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "/tmp/mlruns", "ftp://host/x", "databricks"])
def test_stores_that_do_not_exist_are_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrackingError, match=r"--tracking-uri: got .*expected http://HOST:PORT, sqlite:///"):
        resolve_target(tmp_path, uri)
    with pytest.raises(TrackingError, match="names no file"):
        resolve_target(tmp_path, "sqlite://")


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    target = resolve_target(tmp_path, "postgresql+psycopg2://me:word@host/db")
    assert target.shown == "postgresql+psycopg2://me:***@host/db"
    with pytest.raises(TrackingError) as caught:
        resolve_target(tmp_path, "ftp://me:word@host")
    assert "word" not in str(caught.value)


def test_another_experiment_is_another_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = resolve_target(tmp_path, "http://one")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    other = resolve_target(tmp_path, "http://one")
    assert (one.experiment, other.experiment) == ("am-ray", "mine") and one.digest != other.digest
