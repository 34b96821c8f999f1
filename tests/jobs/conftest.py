"""A real cluster of one node with token authentication, in processes of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Cluster:
    """Where it listens, its token, and the environment of a user who has that token."""

    address: str
    token: str
    environment: dict[str, str]

    def popen(self, *arguments: object, cwd: Path, **variables: str) -> subprocess.Popen[str]:
        """``am-ray ARGUMENTS`` as a user of this cluster."""
        command = [sys.executable, "-m", "am_ray", *map(str, arguments)]
        environment = self.environment | variables
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def am_ray(self, *arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.popen(*arguments, cwd=cwd, **variables)
        out, err = process.communicate(timeout=150)
        # Whatever is printed, the token is not.
        assert self.token not in out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(condition: Callable[[], bool], *, limit_s: float, what: str) -> None:
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, f"{what}: not within {limit_s} s"
        time.sleep(0.3)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # Short: Ray's sockets lie below it, and their paths may have 107 characters.
    home = Path(tempfile.mkdtemp(prefix="amray-", dir="/tmp"))
    token = uuid.uuid4().hex
    gcs, dashboard, client, agent, runtime_agent, agent_grpc, metrics = free_ports(7)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    environment = kept | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}", f"--temp-dir={home / 'ray'}"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    command += [f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--runtime-env-agent-port={runtime_agent}", f"--dashboard-agent-grpc-port={agent_grpc}"]
    command += [f"--metrics-export-port={metrics}", f"--object-store-memory={150 * 2**20}"]
    with (home / "head.log").open("w") as log:
        head = subprocess.Popen(
            command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    found = Cluster(
        f"http://127.0.0.1:{dashboard}", token, environment | {"RAY_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    )
    try:
        wait_until(lambda: answers(found, head, home / "head.log"), limit_s=90, what="dashboard")
        yield found
    finally:
        stop(head, home)
        shutil.rmtree(home, ignore_errors=True)


def answers(cluster: Cluster, head: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether jobs can be listed, which needs the dashboard, its agent and the token."""
    assert head.poll() is None, log.read_text()[-3000:]
    request = urllib.request.Request(
        f"{cluster.address}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(head: subprocess.Popen[bytes], home: Path) -> None:
    """Ends the head, and whatever it started that outlives it: those whose command or environment names its folder."""
    head.kill()
    head.wait()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = any(str(home).encode() in (folder / name).read_bytes() for name in ("cmdline", "environ"))
            if mine and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            continue  # it ended, or it is another user's
