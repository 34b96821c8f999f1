"""``am-ray jobs list | status | logs | stop``: what became of submitted jobs."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any

from am_ray.cli.report import Report, table_text
from am_ray.cli.submit import add_address, follow

if TYPE_CHECKING:
    from am_ray.jobs import Job, JobsClient

# A job gets RAY_JOB_STOP_WAIT_TIME_S (60) seconds to save its checkpoint, then it is killed.
_STOP_WAIT_S = 90.0


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "jobs", help="list, follow and stop submitted jobs", description="Jobs of a Ray cluster."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every job of the cluster")
    listing.set_defaults(run=_list)
    status = actions.add_parser("status", help="state of one job; status 1 if it failed or was stopped")
    status.set_defaults(run=_status)
    logs = actions.add_parser("logs", help="log of one job")
    logs.add_argument("--follow", action="store_true", help="on stderr until the job ends; status 1 if it fails")
    logs.set_defaults(run=_logs)
    stop = actions.add_parser("stop", help="end one job; it saves a checkpoint first")
    stop.set_defaults(run=_stop)
    for action in (listing, status, logs, stop):
        if action is not listing:
            action.add_argument("id", metavar="ID", help="submission id, as `am-ray jobs list` shows it")
        add_address(action)
        action.add_argument("--json", action="store_true", help="print the result as JSON")


def _client(args: argparse.Namespace) -> JobsClient:
    from am_ray.jobs import JobsClient, resolve_access

    return JobsClient(resolve_access(args.address, insecure=args.insecure))


def _list(args: argparse.Namespace) -> Report:
    from rich.table import Table

    jobs = _client(args).jobs()
    table = Table("id", "status", "command", "run", "began", "took", box=None)
    for job in jobs:
        command, name = (job.metadata.get(f"am_ray_{key}", "") for key in ("command", "run_name"))
        table.add_row(job.id, job.status, command, name, _began(job), _took(job))
    return Report(table_text(table) if jobs else "no jobs", {"jobs": [dataclasses.asdict(job) for job in jobs]})


def _status(args: argparse.Namespace) -> Report:
    job = _client(args).job(args.id)
    text = f"{job.id} {job.status}" + (f": {job.message}" if job.message else "")
    return Report(text, dataclasses.asdict(job), 1 if job.ended and not job.succeeded else 0)


def _logs(args: argparse.Namespace) -> Report:
    client = _client(args)
    if args.follow:
        return follow(client, args.id, {})
    logs = client.logs(args.id)
    return Report(logs.removesuffix("\n"), {"id": args.id, "logs": logs})


def _stop(args: argparse.Namespace) -> Report:
    job = _client(args).stop(args.id, wait_s=_STOP_WAIT_S)
    return Report(f"{job.id} {job.status}", dataclasses.asdict(job), 0 if job.ended else 1)


def _began(job: Job) -> str:
    if job.started_ms is None:
        return ""
    return datetime.fromtimestamp(job.started_ms / 1000).astimezone().isoformat(" ", "seconds")


def _took(job: Job) -> str:
    if job.started_ms is None or job.ended_ms is None:
        return ""
    return f"{(job.ended_ms - job.started_ms) / 60_000:.1f} min"
