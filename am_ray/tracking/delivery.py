"""One spool's way to MLflow: in order, each record once, whatever was sent before and by whom."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from am_ray.tracking.delivery_state import DeliveryState, load_state, locked
from am_ray.tracking.known_points import KnownPoints
from am_ray.tracking.mlflow_store import (
    MAX_METRICS,
    MlflowStore,
    RefusedError,
    RunDeletedError,
    RunLostError,
    is_refusal,
)
from am_ray.tracking.redaction import key_name
from am_ray.tracking.spool import FOLDER, Entry, Record, absolute, parent_folder, read_entries, run_record, spool_path
from am_ray.tracking.target import Target

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """Another process is sending this spool just now."""


class Delivery:
    """Sends spools to one target; remembers what it read of them."""

    def __init__(self, store: MlflowStore, target: Target, on_sent: Callable[[int], bool] = lambda count: True) -> None:
        """Args: ``on_sent`` is told how many records were sent, after every request; False ends the call."""
        self._store = store
        self._target = target
        self._on_sent = on_sent
        self._known: dict[Path, KnownPoints] = {}
        # Of the spool whose lock this process holds.
        self._current: tuple[Path, DeliveryState] | None = None

    def deliver(self, folder: Path, *, verify: bool = False) -> int:
        """Sends what is new in a folder's spool; the number of records that are done with now.

        Args:
            folder: Of the run.
            verify: Ask whether MLflow still has the run, even if nothing is new.

        Raises:
            BusyError: Another process is at it.
            RunDeletedError: There is something to send, for a run that was deleted in MLflow.
            Exception: What the network, or MLflow, raised; what was sent until then is recorded.
        """
        with locked(folder / FOLDER / "lock", wait=False) as mine:
            if not mine:
                raise BusyError(str(folder))
            state = load_state(folder, self._target)
            if state is None:
                return 0
            try:
                if verify and state.run_id:
                    with contextlib.suppress(RunDeletedError):  # nothing may be left to send
                        self._store.check_run(state.run_id)
                return self._send_all(folder, state)
            except RunLostError:
                logger.warning("%s: MLflow has lost its run; all of it is sent again", folder)
                state = DeliveryState(state.key, self._target.shown)
                state.save(folder, self._target)
                return self._send_all(folder, state)

    def end_if_open(self, folder: Path, status: str) -> None:
        """Gives a run whose process is gone an end in MLflow; its spool stays open, so that it can be resumed."""
        state, last = load_state(folder, self._target), None
        for entry in read_entries(spool_path(folder)):
            last = entry.record or last
        if state is not None and state.run_id and last is not None and last["type"] != "end":
            self._store.set_status(state.run_id, status, int(last["time"]))

    def _send_all(self, folder: Path, state: DeliveryState) -> int:
        self._current = absolute(folder), state
        known = self._known.get(folder)
        if known is None or known.offset != state.offset:  # another process went on with it meanwhile
            known = self._known[folder] = KnownPoints.read(folder, state.offset)
        done = 0
        for records, end in segments(read_entries(spool_path(folder), state.offset)):
            if not records:
                logger.warning("%s: dropped an incomplete line", spool_path(folder))
            else:
                self._run_id(folder, state)
                refused = self._send(folder, state, known, records)
                state.refused += refused
                state.sent += len(records) - refused
            state.offset = known.offset = end
            state.save(folder, self._target)
            done += len(records)
            if not self._on_sent(len(records)):
                break
        return done

    def _run_id(self, folder: Path, state: DeliveryState) -> str:
        """The run in MLflow: found by its key or created, its parents first."""
        if not state.run_id:
            record = run_record(folder)
            assert record is not None, "a state is loaded for spools that have one"
            state.run_id = self._store.find_run(state.key)
            if not state.run_id:
                parent = parent_folder(folder, record)
                parent_id = "" if parent is None else self._run_of(parent)
                details = (str(record["name"]), record["tags"], parent_id, int(record["time"]))
                state.run_id = self._store.create_run(state.key, *details)
            state.save(folder, self._target)
        return state.run_id

    def _run_of(self, folder: Path) -> str:
        """The run of another folder, or of the current one; empty where nothing was tracked."""
        if self._current is not None and self._current[0] == absolute(folder):
            return self._run_id(*self._current)
        if load_state(folder, self._target) is None:
            return ""
        with locked(folder / FOLDER / "lock", wait=False) as mine:
            state = load_state(folder, self._target)
            if not mine or state is None:
                raise BusyError(str(folder))
            return self._run_id(folder, state)

    def _send(self, folder: Path, state: DeliveryState, known: KnownPoints, records: list[Record]) -> int:
        """Sends records of one type; the number of those that were refused."""
        try:
            self._send_type(folder, state, known, records)
        except Exception as error:
            if not is_refusal(error):
                raise
            if not isinstance(error, RefusedError):
                self._store.check_run(state.run_id)
            if len(records) > 1:
                # One of them is wrong; the others are not to be lost with it.
                return sum(self._send(folder, state, known, [record]) for record in records)
            logger.warning("%s: MLflow cannot take a record (%.200s): %.200s", folder, error, records[0])
            return 1
        return 0

    def _send_type(self, folder: Path, state: DeliveryState, known: KnownPoints, records: list[Record]) -> None:
        store, run_id, record = self._store, state.run_id, records[0]
        match record["type"]:
            case "metrics":
                points = known.new(records)
                store.log(run_id, points=points)
                known.add(points)
            case "params":
                store.log(run_id, params=_merged(records, "values"))
            case "tags":
                store.log(run_id, tags=_merged(records, "values"))
            case "reopen":
                store.set_status(run_id, "RUNNING", record["time"])
                store.log(run_id, tags=record["tags"])
            case "text":
                store.log_text(run_id, record["text"], record["file"])
            case "artifact":
                store.log_artifact(run_id, _path(folder, record), record["folder"])
            case "dataset":
                store.log_dataset(run_id, **{key: record[key] for key in ("name", "digest", "source", "context")})
            case "checkpoint":
                model_id, _ = self._model(folder, state, _path(folder, record))
                store.log(run_id, points=known.as_known(record), model_id=model_id)
            case "best":
                self._register(folder, state, record)
            case "end":
                store.set_status(run_id, record["status"], record["time"])

    def _model(self, folder: Path, state: DeliveryState, directory: Path) -> tuple[str, str]:
        """LoggedModel of a checkpoint, under the run that made it, and the key that it is found by."""
        owner = load_state(directory.parent, self._target)
        run_id = state.run_id
        if owner is None or owner.key == state.key:
            owner = state
        else:
            run_id = self._run_of(directory.parent)
        key = f"{owner.key}/{directory.name}"
        return self._store.log_checkpoint(run_id, directory, key, directory.name), key

    def _register(self, folder: Path, state: DeliveryState, record: Record) -> None:
        directory = _path(folder, record)
        model_id, key = self._model(folder, state, directory)
        header = run_record(folder)
        assert header is not None, "a state is loaded for spools that have one"
        name = "am-ray-" + key_name(str(header["name"])).replace("/", "-").replace(":", "-")
        self._store.register(state.run_id, model_id, key, name, "best")
        # Not a curve: a later and better one takes its place.
        point = (f"best/{record['metric']}", float(record["value"]), int(record["time"]), 0)
        self._store.log(state.run_id, points=[point], tags={"best.checkpoint": os.path.relpath(directory, folder)})


def segments(entries: Iterable[Entry]) -> Iterator[tuple[list[Record], int]]:
    """Neighbours that can travel together, and the byte after them; metrics up to one request's worth.

    A line that is no record comes alone, as an empty list.
    """
    batch: list[Record] = []
    end, points = 0, 0
    for entry in entries:
        record = entry.record
        size = len(record["values"]) if record is not None and record["type"] == "metrics" else 0
        joins = bool(batch) and record is not None and record["type"] == batch[0]["type"]
        if not (joins and batch[0]["type"] in ("metrics", "params", "tags") and points + size <= MAX_METRICS):
            if end:
                yield batch, end
            batch, points = [], 0
        if record is not None:
            batch.append(record)
        points, end = points + size, entry.end
    if end:
        yield batch, end


def _merged(records: Iterable[Record], key: str) -> dict[str, str]:
    merged: dict[str, str] = {}
    for record in records:
        merged |= record[key]
    return merged


def _path(folder: Path, record: Record) -> Path:
    return Path(os.path.normpath(folder / record["path"]))
