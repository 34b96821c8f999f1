import json
from pathlib import Path

import pytest

from tests.cli.conftest import AmRay
from tests.comparison.studies import EXAMPLE_LEVELS, cell, example_cells, write


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write(tmp_path / "runs" / "study", example_cells(EXAMPLE_LEVELS, seeds=3, starts=20))


def test_the_text_ends_in_the_conclusions_and_the_path_of_the_report(am_ray: AmRay, study: Path) -> None:
    run = am_ray("compare", study, "--no-tracking")
    assert (run.code, run.stderr) == (0, "")
    for words in (
        "Success rates",
        "Paired differences against scratch",
        "Budgets",
        "difference not established",
        "p Holm",
    ):
        assert words in run.stdout
    assert run.stdout.splitlines()[-1] == f"report {study / 'comparison' / 'comparison.html'}"
    assert not (study / "tracking").exists()


def test_json_and_html_go_where_they_are_asked_for(am_ray: AmRay, study: Path, tmp_path: Path) -> None:
    run = am_ray("compare", study, "--no-tracking", "--json", tmp_path / "a" / "c.json", "--html", tmp_path / "c.html")
    assert run.code == 0
    assert json.loads((tmp_path / "a" / "c.json").read_text())["baseline"] == "scratch"
    assert (tmp_path / "c.html").read_bytes() == (study / "comparison" / "comparison.html").read_bytes()
    assert am_ray("compare", study, "--no-tracking", "--json", "-").json["task"] == "grasp_box"


def test_a_file_that_cannot_be_written_is_an_error_that_names_the_report(
    am_ray: AmRay, study: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    run = am_ray("compare", study, "--no-tracking", "--html", tmp_path / "file" / "c.html")
    assert run.code == 2
    assert "--html" in run.stderr and str(study / "comparison" / "comparison.html") in run.stderr


def test_unlike_arms_are_refused_and_nothing_is_written(am_ray: AmRay, tmp_path: Path) -> None:
    cells = [cell("scratch", 25, 0, [True]), cell("pretrained", 25, 0, [True], first_start=7)]
    run = am_ray("compare", write(tmp_path / "s", cells), "--no-tracking")
    assert (run.code, run.stdout) == (2, "")
    assert "scratch-n25-s0 and pretrained-n25-s0 differ in starts and goals" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert not (tmp_path / "s" / "comparison").exists()


def test_a_folder_that_is_no_study_is_an_error(am_ray: AmRay, tmp_path: Path) -> None:
    run = am_ray("compare", tmp_path)
    assert run.code == 2
    assert "results.json: not found" in run.stderr


def test_tracking_options_exclude_each_other_as_in_the_other_commands(am_ray: AmRay, study: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        am_ray("compare", study, "--no-tracking", "--tracking-uri", "sqlite:///x.db")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # MLflow's own
def test_the_report_is_on_the_studys_mlflow_run(
    am_ray: AmRay, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert am_ray("compare", study).code == 0
    assert am_ray("compare", study).code == 0  # the same run goes on
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert [run.info.run_name for run in runs] == ["study"]
    assert "comparison/grasp_box/pretrained/n50/difference" in runs[0].data.metrics
    artifacts = {artifact.path for artifact in client.list_artifacts(runs[0].info.run_id, "comparison")}
    assert "comparison/comparison.html" in artifacts
    assert runs[0].info.status == "FINISHED"
