"""``am-ray ui``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from am_ray.cli.report import Report

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "ui",
        help="show the runs in a browser (MLflow)",
        description=f"Serves the MLflow store of --storage on {HOST} alone, until Ctrl-C. Runs can log to it meanwhile: "
        "--tracking-uri with the address that is printed, or without, into the same store.",
    )
    parser.add_argument("--storage", default="runs", metavar="DIR", help="folder of all runs; default: runs")
    parser.add_argument("--port", type=int, default=5000, metavar="N", help="default: 5000")
    parser.add_argument("--tracking-uri", metavar="URI", help="a database to show instead of --storage/mlflow.db")
    parser.set_defaults(run=run, json=False)


def run(args: argparse.Namespace) -> Report:
    from am_ray.tracking.target import TrackingError, resolve_target

    database = f"sqlite:///{(Path(args.storage) / 'mlflow.db').absolute()}"
    target = resolve_target(Path(args.storage), args.tracking_uri or database)
    if target.artifacts is None:
        raise TrackingError(f"--tracking-uri: {target.shown} is a server already. Open it in a browser.")
    if target.database is not None and not target.database.exists():
        raise TrackingError(
            f"{target.database}: no runs have been logged here; expected an MLflow store. "
            f"Run 'am-ray pretrain' first, or name another --storage."
        )
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(args.port), "--workers", "1"]
    command += ["--artifacts-destination", str(target.artifacts)]
    return Report("", code=_served(command, target.uri, f"http://{HOST}:{args.port}"))


def _served(command: list[str], store: str, address: str) -> int:
    """Runs the server, and ends all of its processes, however this one ends."""
    # By environment, as the address of a store may hold a password; its own background jobs have no use here.
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    logger.info("%s (Ctrl-C ends it)", address)
    try:
        code = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return code
