"""From spools to MLflow's own tables: everything, once, whatever was repeated, torn, refused or lost on the way."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest

from am_ray.tracking import RunTracker
from am_ray.tracking.delivery import BusyError, Delivery, segments
from am_ray.tracking.delivery_state import load_state, locked, state_path, unsent_records
from am_ray.tracking.known_points import KnownPoints
from am_ray.tracking.mlflow_store import MlflowStore
from am_ray.tracking.spool import FOLDER, Entry, find_folders, read_entries, spool_path
from am_ray.tracking.sync import status, sync
from am_ray.tracking.target import Target, TrackingError, resolve_target

from .conftest import Mlflow, once, write_run


def deliver_all(delivery: Delivery, root: Path) -> int:
    return sum(delivery.deliver(folder) for folder in find_folders(root))


def write_checkpoint(folder: Path, update: int) -> Path:
    directory = folder / f"checkpoint-{update:09d}"
    directory.mkdir(parents=True)
    (directory / "weights.safetensors").write_bytes(bytes([update]) * 100)
    return directory


def test_neighbours_travel_together_up_to_what_a_request_holds() -> None:
    def entry(kind: str, size: int = 1) -> Entry:
        nonlocal end
        end += 1
        return Entry({"type": kind, "time": 0, "values": {str(i): 1.0 for i in range(size)}}, end)

    end = 0
    kinds = [entry("metrics", 600), entry("metrics", 400), entry("metrics"), Entry(None, end := end + 1)]
    kinds += [entry("metrics"), entry("params"), entry("params"), entry("end"), entry("end")]
    found = [([record["type"] for record in records], end) for records, end in segments(kinds)]
    assert found == [
        (["metrics", "metrics"], 2),
        (["metrics"], 3),
        ([], 4),
        (["metrics"], 5),
        (["params", "params"], 7),
        (["end"], 8),
        (["end"], 9),
    ]
    assert list(segments([])) == []


def test_a_point_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path, steps=range(5))
    write_run(tmp_path, steps=range(3, 8))
    known = KnownPoints()
    points = known.new(
        e.record for e in read_entries(spool_path(tmp_path)) if e.record and e.record["type"] == "metrics"
    )
    assert sorted(step for key, _, _, step in points if key == "critic/td_loss") == list(range(8))
    known.add(points)
    record = {"step": 4, "time": 0, "values": {"critic/td_loss": 99.0, "other": 1.0}}
    assert known.new([record]) == [("other", 1.0, 0, 4)]
    loss, other = known.as_known(record)
    assert loss[1] == 0.2 and loss[2] > 0 and other == ("other", 1.0, 0, 4)


def test_all_kinds_of_records_arrive(storage: Path, delivery: Delivery, mlflow: Mlflow) -> None:
    study, trial = storage / "study", storage / "study" / "trials" / "t"
    tracker = write_run(study)
    tracker.params({"long": "x" * 7000, "empty": ""})
    tracker.dataset(name="tray", digest="d" * 64, source="/data/tray", context="training")
    (storage / "table.csv").write_text("a,b")
    (storage / "panels").mkdir()
    (storage / "panels" / "one.txt").write_text("1")
    tracker.artifact(storage / "table.csv", folder="report")
    tracker.artifact(storage / "panels")
    child = write_run(trial, parent=study)
    child.checkpoint(write_checkpoint(trial, 9), step=9, metrics={"critic/td_loss": 0.1, "eval/success_rate": 0.5})
    tracker.best_checkpoint(trial / "checkpoint-000000009", metric="eval/success_rate", value=0.5)
    tracker.end("FAILED")
    deliver_all(delivery, study)

    run, inner = mlflow.run("study"), mlflow.run("t")
    assert (run.info.status, inner.info.status) == ("FAILED", "FINISHED")
    assert inner.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.data.tags["stage"] == "sweep" and run.data.tags["arm"] == "scratch"
    assert run.data.params["training.updates"] == "10" and run.data.params["empty"] == ""
    assert run.data.params["long"] == "see params/long.txt"
    client, folder = mlflow.client, storage / "got"
    folder.mkdir()
    for path, content in (("params/long.txt", "x" * 7000), ("report/table.csv", "a,b"), ("panels/one.txt", "1")):
        assert Path(client.download_artifacts(run.info.run_id, path, str(folder))).read_text() == content
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("tray", "d" * 36)
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]

    (model,) = mlflow.models(inner)
    assert (model.name, str(model.status)) == ("checkpoint-000000009", "READY")
    assert {m.key: m.value for m in model.metrics} == {"critic/td_loss": 0.1, "eval/success_rate": 0.5}
    files = list(Path(model.artifact_location).iterdir())
    assert [file.read_bytes() for file in files] == [bytes([9]) * 100]
    assert mlflow.counts("t") == once(range(10)) | {"eval/success_rate": Counter([9])}
    version = client.get_model_version_by_alias("am-ray-study", "best")
    assert (version.run_id, version.source) == (run.info.run_id, model.artifact_location)
    assert run.data.metrics["best/eval/success_rate"] == 0.5
    assert run.data.tags["best.checkpoint"] == "trials/t/checkpoint-000000009"


def test_a_state_that_was_lost_costs_no_doubles(storage: Path, target: Target, mlflow: Mlflow) -> None:
    """As after a kill between an answer and the note of it, for every record."""
    folder = storage / "a"
    tracker = write_run(folder)
    tracker.dataset(name="tray", digest="d", source="/data/tray", context="training")
    tracker.checkpoint(write_checkpoint(folder, 9), step=9, metrics={"critic/td_loss": 0.1})
    tracker.best_checkpoint(folder / "checkpoint-000000009", metric="eval/success_rate", value=0.5)
    for _ in range(3):
        assert Delivery(MlflowStore(target), target).deliver(folder) == 16
        state_path(folder, target).unlink()
    run = mlflow.run("a")
    assert mlflow.counts("a") == once(range(10)) | {"best/eval/success_rate": Counter([0])}
    assert len(mlflow.models(run)) == len(run.inputs.dataset_inputs) == 1
    assert len(mlflow.client.search_model_versions("name = 'am-ray-a'")) == 1


def test_a_resumed_run_is_the_same_run_and_its_repetitions_are_dropped(
    storage: Path, delivery: Delivery, mlflow: Mlflow
) -> None:
    folder = storage / "a"
    write_run(folder, steps=range(7), end=False)
    delivery.deliver(folder)
    run_id = mlflow.run("a").info.run_id
    write_run(folder, steps=range(4, 12), end=False)
    delivery.deliver(folder)
    assert mlflow.counts("a") == once(range(12))
    assert (mlflow.run("a").info.run_id, mlflow.run("a").info.status) == (run_id, "RUNNING")
    write_run(folder, steps=range(12))
    delivery.deliver(folder)
    assert mlflow.counts("a") == once(range(12))
    assert mlflow.run("a").info.status == "FINISHED"


def test_another_process_may_go_on_with_a_spool(storage: Path, target: Target, mlflow: Mlflow) -> None:
    folder = storage / "a"
    one, other = (Delivery(MlflowStore(target), target) for _ in range(2))
    for end, delivery in ((3, one), (6, other), (9, one), (12, other)):
        write_run(folder, steps=range(end), end=False)
        delivery.deliver(folder)
    assert mlflow.counts("a") == once(range(12))


def test_one_process_at_a_time(storage: Path, delivery: Delivery) -> None:
    write_run(storage / "a")
    with locked(storage / "a" / FOLDER / "lock", wait=False) as mine, pytest.raises(BusyError):
        assert mine
        delivery.deliver(storage / "a")
    assert delivery.deliver(storage / "a") > 0


def test_children_bring_their_parents(storage: Path, delivery: Delivery, mlflow: Mlflow) -> None:
    study = storage / "study"
    for folder, parent in ((study, None), (study / "arm", study), (study / "arm" / "t", study / "arm")):
        write_run(folder, parent=parent)
    delivery.deliver(study / "arm" / "t")
    ids = {name: mlflow.run(name).info.run_id for name in ("study", "arm", "t")}
    assert mlflow.run("t").data.tags["mlflow.parentRunId"] == ids["arm"]
    assert mlflow.run("arm").data.tags["mlflow.parentRunId"] == ids["study"]
    deliver_all(delivery, study)
    assert {name: mlflow.run(name).info.run_id for name in ids} == ids
    assert mlflow.counts("study") == once(range(10))


def test_a_parent_that_was_not_tracked_is_none(storage: Path, delivery: Delivery, mlflow: Mlflow) -> None:
    write_run(storage / "study" / "t", parent=storage / "study")
    delivery.deliver(storage / "study" / "t")
    assert "mlflow.parentRunId" not in mlflow.run("t").data.tags


def test_what_mlflow_cannot_take_holds_up_nothing(
    storage: Path, delivery: Delivery, target: Target, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    folder = storage / "a"
    tracker = write_run(folder, steps=range(5), end=False)
    tracker._write({"type": "metrics", "step": 5, "values": {"not=allowed": 1.0}})
    tracker._write({"type": "params", "values": {"dataset": "another"}})
    tracker._write({"type": "params"})
    tracker.artifact(folder / "is-gone.txt")
    tracker.checkpoint(folder / "checkpoint-000000001", step=1)
    with spool_path(folder).open("ab") as stream:
        stream.write(b'{"type":"metr\n')
    tracker._write({"type": "metrics", "step": 5, "values": {"critic/td_loss": 1.0, "time/updates_per_s": 7.0}})
    with caplog.at_level(logging.WARNING):
        delivery.deliver(folder)
    assert mlflow.counts("a") == once(range(6))
    assert mlflow.run("a").data.params["dataset"] == "d"
    state = load_state(folder, target)
    assert state is not None and state.refused == 5 and unsent_records(folder, target) == 0
    assert caplog.text.count("cannot take a record") == 5 and "dropped an incomplete line" in caplog.text


def test_more_than_a_request_holds(storage: Path, delivery: Delivery, mlflow: Mlflow) -> None:
    folder = storage / "a"
    tracker = write_run(folder, steps=range(0))
    tracker.params({f"p{i}": i for i in range(250)})
    tracker.tags({f"t{i}": str(i) for i in range(250)})
    tracker.metrics({f"group/m{i}": float(i) for i in range(2500)}, step=1)
    delivery.deliver(folder)
    data = mlflow.run("a").data
    assert (len(data.metrics), len([key for key in data.params if key[0] == "p"])) == (2500, 250)
    assert data.tags["t249"] == "249" and data.metrics["group/m2499"] == 2499.0


def test_a_store_made_anew_gets_all_of_it_again(
    storage: Path, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(storage / "a", steps=range(5))
    assert sync(storage) == (8, "")
    mlflow.client._tracking_client.store._hard_delete_run(mlflow.run("a").info.run_id)
    with caplog.at_level(logging.WARNING):
        assert sync(storage) == (8, "")
    assert "MLflow has lost its run" in caplog.text
    assert mlflow.counts("a") == once(range(5))


def test_a_run_that_was_deleted_in_mlflow_stays_deleted_and_loses_nothing(
    storage: Path, target: Target, mlflow: Mlflow
) -> None:
    write_run(storage / "a", steps=range(5))
    sync(storage)
    run_id = mlflow.run("a").info.run_id
    mlflow.client.delete_run(run_id)
    assert sync(storage) == (0, "")
    write_run(storage / "a", steps=range(5, 10))
    write_run(storage / "b")
    sent, problem = sync(storage)
    assert sent == 13 and "was deleted in MLflow" in problem
    state_path(storage / "a", target).unlink()
    assert sync(storage)[0] == 0 and mlflow.runs(**{"mlflow.runName": "a"}) == []
    mlflow.client.restore_run(run_id)
    assert sync(storage)[1] == ""
    assert mlflow.run("a").info.run_id == run_id and mlflow.counts("a") == once(range(10))


def test_the_same_spools_go_to_several_stores(storage: Path, empty_database: Path, tmp_path: Path) -> None:
    write_run(storage / "a")
    shutil.copy(empty_database, tmp_path / "other.db")
    others = f"sqlite:///{tmp_path}/other.db"
    assert sync(storage)[0] == sync(storage, others)[0] == 13
    assert sync(storage)[0] == sync(storage, others)[0] == 0
    for uri in (f"sqlite:///{storage}/mlflow.db", others):
        assert Mlflow(uri).counts("a") == once(range(10))
    target, (found,) = status(storage, others)
    assert (target.uri, found.name, found.sent, found.unsent, found.refused) == (others, "a", 13, 0, 0)


def test_a_storage_may_move(storage: Path, tmp_path: Path) -> None:
    write_run(storage / "a", steps=range(3), end=False)
    sync(storage)
    moved = storage.rename(tmp_path / "moved")
    write_run(moved / "a", steps=range(6))
    sync(moved)
    assert Mlflow(f"sqlite:///{moved}/mlflow.db").counts("a") == once(range(6))


def test_a_run_id_in_the_environment_changes_nothing(
    storage: Path, delivery: Delivery, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(storage / "a")
    delivery.deliver(storage / "a")
    monkeypatch.setenv("MLFLOW_RUN_ID", mlflow.run("a").info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    write_run(storage / "b")
    target = resolve_target(storage / "b", None)
    Delivery(MlflowStore(target), target).deliver(storage / "b")
    assert mlflow.counts("a") == mlflow.counts("b") == once(range(10))


def test_two_senders_may_be_the_first(storage: Path, target: Target, mlflow: Mlflow) -> None:
    stores = [MlflowStore(target) for _ in range(2)]
    created = stores[0]._create_experiment()
    assert stores[1]._create_experiment() == created == stores[1].experiment


def test_a_deleted_experiment_loses_nothing(storage: Path, target: Target, mlflow: Mlflow) -> None:
    write_run(storage / "a")
    sync(storage)
    experiment = mlflow.run("a").info.experiment_id
    mlflow.client.delete_experiment(experiment)
    write_run(storage / "b")
    delivery = Delivery(MlflowStore(target), target)
    with pytest.raises(OSError, match="the experiment 'am-ray' was deleted"):
        delivery.deliver(storage / "b")
    mlflow.client.restore_experiment(experiment)
    delivery.deliver(storage / "b")
    assert mlflow.counts("b") == once(range(10))


def test_a_killed_process_leaves_no_run_that_goes_on_for_ever(
    storage: Path, delivery: Delivery, mlflow: Mlflow
) -> None:
    for name, end in (("ended", True), ("open", False)):
        write_run(storage / name, end=end)
        delivery.deliver(storage / name)
        delivery.end_if_open(storage / name, "KILLED")
    assert [mlflow.run(name).info.status for name in ("ended", "open")] == ["FINISHED", "KILLED"]
    RunTracker.open(storage / "open", name="open", stage="sweep").tags({"x": "y"})
    delivery.deliver(storage / "open")
    assert mlflow.run("open").info.status == "RUNNING"


def test_there_must_be_something_to_send(tmp_path: Path) -> None:
    for function in (sync, status):
        with pytest.raises(TrackingError, match="no run below it was tracked"):
            function(tmp_path)
