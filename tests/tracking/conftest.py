"""A real MLflow server that tests may kill, a proxy that makes it slow or broken, and an SQLite store made once."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from am_ray.tracking import RunTracker
from am_ray.tracking.delivery import Delivery
from am_ray.tracking.mlflow_store import MlflowStore
from am_ray.tracking.target import Target, resolve_target


def eventually(condition: Callable[[], Any], timeout_s: float = 100.0) -> Any:
    """The first true value of ``condition``, asked for a while."""
    ends = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < ends, "it never happened"
        time.sleep(0.1)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """``mlflow server`` on SQLite."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.uri = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        eventually(self._answers, 150)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Proxy:
    """HTTP in between: ``fault(number of the request, path)`` says what happens to a request.

    ``""``: nothing. ``"500"``: it is answered so, and goes nowhere. ``"lost"``: it is done, but the answer is lost.
    ``"slow"``: it is done after ``delay_s``.
    """

    def __init__(self, server: Server) -> None:
        self.fault: Callable[[int, str], str] = lambda number, path: ""
        self.delay_s = 10.0
        self.requests = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.requests += 1
                fault = proxy.fault(proxy.requests, self.path)
                if fault == "slow":
                    time.sleep(proxy.delay_s)
                if fault == "500":
                    self.send_error(500)
                    return
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                    headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                    connection.request(self.command, self.path, body, headers)
                    answer = connection.getresponse()
                    content = answer.read()
                    connection.close()
                except OSError:
                    return
                if fault != "lost":
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.getheader("Content-Type") or "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the sender was killed
                    super().handle()

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Mlflow:
    """What a store holds, seen through MLflow's own client."""

    uri: str

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri, registry_uri=self.uri)

    def runs(self, **tags: str) -> list[Any]:
        experiment = self.client.get_experiment_by_name("am-ray")
        words = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return [] if experiment is None else list(self.client.search_runs([experiment.experiment_id], words))

    def run(self, name: str) -> Any:
        (found,) = self.runs(**{"mlflow.runName": name})
        return found

    def counts(self, name: str) -> dict[str, Counter[int]]:
        """Metric to step to number of points, of the one run of that name."""
        run = self.run(name)
        history = self.client.get_metric_history
        return {key: Counter(point.step for point in history(run.info.run_id, key)) for key in run.data.metrics}

    def models(self, run: Any) -> list[Any]:
        found = self.client.search_logged_models([run.info.experiment_id], max_results=200)
        return [model for model in found if model.source_run_id == run.info.run_id]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's settings and loggers as they were; none from outside."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic", "urllib3")}
    yield
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name not in before]:
        del os.environ[name]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables takes MLflow seconds; copying the file takes none."""
    folder = tmp_path_factory.mktemp("template")
    script = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run([sys.executable, "-c", script, f"sqlite:///{folder}/mlflow.db"], check=True, timeout=200)
    return folder / "mlflow.db"


@pytest.fixture
def storage(empty_database: Path, tmp_path: Path) -> Path:
    """A folder of runs with an embedded store that is empty."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")
    return tmp_path / "runs"


@pytest.fixture
def target(storage: Path) -> Target:
    return resolve_target(storage / "any", None)


@pytest.fixture
def delivery(target: Target) -> Delivery:
    return Delivery(MlflowStore(target), target)


@pytest.fixture
def mlflow(target: Target) -> Mlflow:
    return Mlflow(target.uri)


@pytest.fixture(scope="session")
def shared_server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    server = Server(folder, free_port())
    yield server
    server.kill()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A running server. Names of runs must be a test's own."""
    if not shared_server.running:
        shared_server.start()
    return shared_server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.close()


def write_run(folder: Path, *, steps: range = range(10), parent: Path | None = None, end: bool = True) -> RunTracker:
    """A small run: two params, a tag, two curves."""
    tracker = RunTracker.open(folder, name=folder.name, stage="sweep", parent=parent, tags={"arm": "scratch"})
    tracker.params({"training": {"updates": 10}, "dataset": "d"})
    for step in steps:
        tracker.metrics({"critic/td_loss": 1.0 / (step + 1), "time/updates_per_s": 7.0}, step=step)
    if end:
        tracker.end("FINISHED")
    return tracker


def once(steps: range) -> dict[str, Counter[int]]:
    """What `Mlflow.counts` says of `write_run` when nothing is lost or doubled."""
    return {key: Counter(steps) for key in ("critic/td_loss", "time/updates_per_s")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow uses what SQLAlchemy and others will remove; that is not ours to change."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))
