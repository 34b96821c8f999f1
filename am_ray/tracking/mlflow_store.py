"""The calls of MLflow's client that a sender makes, each of which may be made twice without harm."""

from __future__ import annotations

import json
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.tracking.target import Target

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Of one log_batch, by MLflow's own limits.
MAX_METRICS, MAX_PARAMS_OR_TAGS = 1_000, 100
MAX_DIGEST_LENGTH = 36
RUN_KEY, CHECKPOINT_KEY = "am_ray.run_key", "am_ray.checkpoint"
_ALL_RUNS = 3  # mlflow.entities.ViewType.ALL
# What MLflow says of a request that it will never take.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST")
_SETTINGS = {
    # A sender retries by itself, and a server may take its time: nothing waits for it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class RefusedError(Exception):
    """A request that will never succeed, so that trying again would only hold up all others."""


class RunLostError(Exception):
    """MLflow knows no such run: its store was made anew."""


class RunDeletedError(Exception):
    """Somebody deleted the run in MLflow, where it can be restored; it is not sent again behind their back."""


Point = tuple[str, float, int, int]  # key, value, milliseconds since 1970, step


class MlflowStore:
    """One experiment of one MLflow. Every method raises what the network raises, or `RefusedError`."""

    def __init__(self, target: Target) -> None:
        os.environ.update(_SETTINGS)
        # They name the run and the experiment of whoever started this process.
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
            os.environ.pop(name, None)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._target = target
        self._client: MlflowClient = MlflowClient(tracking_uri=target.uri, registry_uri=target.uri)
        self._experiment = ""

    @property
    def experiment(self) -> str:
        """Id of the experiment, which is created if there is none."""
        if not self._experiment:
            found = self._client.get_experiment_by_name(self._target.experiment)
            if found is not None and found.lifecycle_stage != "active":
                name = self._target.experiment
                raise OSError(f"the experiment {name!r} was deleted: run 'mlflow experiments restore', or purge it")
            self._experiment = found.experiment_id if found is not None else self._create_experiment()
        return self._experiment

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name, artifacts = self._target.experiment, self._target.artifacts
        try:
            return str(self._client.create_experiment(name, None if artifacts is None else str(artifacts)))
        except MlflowException:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)  # another sender was first

    def find_run(self, key: str) -> str:
        """Id of the run that was created for ``key``, even if it was deleted since, or an empty text."""
        words = f"tags.`{RUN_KEY}` = '{key}'"
        found = self._client.search_runs([self.experiment], words, run_view_type=_ALL_RUNS, max_results=1)
        return str(found[0].info.run_id) if found else ""

    def create_run(self, key: str, name: str, tags: Mapping[str, str], parent: str, start_ms: int) -> str:
        everything = dict(tags) | {RUN_KEY: key} | ({"mlflow.parentRunId": parent} if parent else {})
        if "git.commit" in tags:
            everything["mlflow.source.git.commit"] = tags["git.commit"]
        run = self._client.create_run(self.experiment, start_time=start_ms, tags=everything, run_name=name)
        return str(run.info.run_id)

    def check_run(self, run_id: str) -> None:
        """Raises `RunLostError` if there is no such run, `RunDeletedError` if it was deleted."""
        from mlflow.exceptions import MlflowException

        try:
            deleted = self._client.get_run(run_id).info.lifecycle_stage != "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" and is_refusal(error):
                raise RunLostError(run_id) from error
            raise
        if deleted:
            raise RunDeletedError(f"the run {run_id} was deleted in MLflow: restore it there, and sync again")

    def log(
        self,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        model_id: str | None = None,
    ) -> None:
        """In as few requests as MLflow's limits allow; points with a model belong to the run and to the model."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(key, value, time, step, model_id=model_id) for key, value, time, step in points]
        for part in _parts(metrics, MAX_METRICS):
            self._client.log_batch(run_id, metrics=part)
        for part in _parts([Param(*item) for item in (params or {}).items()], MAX_PARAMS_OR_TAGS):
            self._client.log_batch(run_id, params=part)
        for part in _parts([RunTag(*item) for item in (tags or {}).items()], MAX_PARAMS_OR_TAGS):
            self._client.log_batch(run_id, tags=part)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        self._client.log_text(run_id, text, file)

    def log_artifact(self, run_id: str, path: Path, folder: str) -> None:
        _check_readable(path)
        if path.is_dir():
            self._client.log_artifacts(run_id, str(path), posixpath.join(folder, path.name))
        else:
            self._client.log_artifact(run_id, str(path), folder or None)

    def log_dataset(self, run_id: str, *, name: str, digest: str, source: str, context: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest[:MAX_DIGEST_LENGTH], "local", json.dumps({"uri": source}))
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_checkpoint(self, run_id: str, directory: Path, key: str, name: str) -> str:
        """Id of the LoggedModel with the files of ``directory``, which is created unless there is one for ``key``."""
        found = self._client.search_logged_models([self.experiment], f"tags.`{CHECKPOINT_KEY}` = '{key}'")
        if not found:
            _check_readable(directory)
        model = (
            found[0]
            if found
            else self._client.create_logged_model(
                self.experiment,
                name=name,
                source_run_id=run_id,
                tags={CHECKPOINT_KEY: key},
                model_type="am-ray checkpoint",
            )
        )
        if str(model.status) != "READY":
            _check_readable(directory)
            self._client.log_model_artifacts(model.model_id, str(directory))
            self._client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def register(self, run_id: str, model_id: str, key: str, name: str, alias: str) -> None:
        """A version of the registered model ``name`` for the LoggedModel, created once, under ``alias``."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
                raise
        versions = self._client.search_model_versions(f"name = '{name}'")
        version = next((each.version for each in versions if each.tags.get(CHECKPOINT_KEY) == key), None)
        if version is None:
            source = self._client.get_logged_model(model_id).artifact_location
            created = self._client.create_model_version(
                name, source, run_id, tags={CHECKPOINT_KEY: key}, model_id=model_id
            )
            version = created.version
        self._client.set_registered_model_alias(name, alias, version)

    def set_status(self, run_id: str, status: str, time_ms: int) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, end_time=time_ms)


def _check_readable(path: Path) -> None:
    """Checkpoints are deleted when newer ones come: what is gone before it was sent is not waited for."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    for file in files:
        if not os.access(file, os.R_OK):
            raise RefusedError(f"{file} is gone, or cannot be read")


def is_refusal(error: Exception) -> bool:
    """Whether MLflow itself (not a proxy before it, not the network) said that this request is wrong."""
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, RefusedError | KeyError | TypeError):  # the latter: a record that is not one of ours
        return True
    if not isinstance(error, MlflowException) or error.error_code not in _REFUSALS:
        return False
    # Without a body of MLflow's own it may be any web server that knows no such page.
    return isinstance(error, RestException) or "API request to" not in str(error)


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
