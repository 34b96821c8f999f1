"""``am-ray submit``: pretrain, finetune or sweep as a Ray job on a cluster."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.cli.report import Report
from am_ray.types import SettingsError

if TYPE_CHECKING:
    from am_ray.jobs import Access, JobPlan, JobsClient, Submission
    from am_ray.study_settings import StudySettings

logger = logging.getLogger(__name__)

COMMANDS = ("pretrain", "finetune", "sweep")
# Options of ours that are passed on by name; after -- they would be given twice.
_PASSED = ("--run-name", "--storage", "--resume")


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "submit",
        help="run pretrain, finetune or sweep on a Ray cluster",
        usage="am-ray submit {pretrain,finetune,sweep} CONFIG.yaml [options] [-- options of that command]",
        description="Everything is checked here before anything is sent. The same call again resumes a run that ended, "
        "and attaches to one that runs (with --follow).",
    )
    parser.add_argument("command", choices=COMMANDS, help="what to run")
    parser.add_argument("config", metavar="CONFIG.yaml", help="its settings, inside the working directory")
    add_address(parser)
    parser.add_argument("--run-name", metavar="N", help="folder in --storage; default: the config's name")
    parser.add_argument(
        "--storage", default="runs", metavar="DIR", help="folder of all runs, a path that all nodes see; default: runs"
    )
    parser.add_argument("--resume", choices=("auto", "must", "never"), default="auto", help="default: auto")
    parser.add_argument(
        "--working-dir", default=".", metavar="DIR", help="folder that travels with the job; default: ."
    )
    parser.add_argument(
        "--env",
        choices=("image", "lock"),
        default="image",
        help="image: the nodes have am-ray's packages; lock: Ray installs them from requirements.lock; default: image",
    )
    parser.add_argument(
        "--cpus", type=float, default=0.0, metavar="N", help="CPUs held by the command itself; default: 0"
    )
    parser.add_argument(
        "--gpus", type=float, metavar="N", help="GPUs held by the command itself; default: those of a learner inside it"
    )
    parser.add_argument(
        "--follow", action="store_true", help="show the log (on stderr) until the job ends; status 1 if it fails"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent; needs no cluster")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run, options=[])
    _keep_what_follows_two_dashes(parser)


def add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        metavar="URL",
        help="of the dashboard; default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, http://127.0.0.1:8265",
    )
    parser.add_argument("--insecure", action="store_true", help="talk to another machine's dashboard without a token")


def run(args: argparse.Namespace) -> Report:
    from am_ray.jobs import JobsClient, resolve_access, submit

    # A dry run says what is wrong with the address instead of ending there.
    access = resolve_access(args.address, insecure=args.insecure or args.dry_run)
    plan = _plan(args)
    warnings = _warnings(args, access)
    if args.dry_run:
        return _dry_run(plan, access, warnings, refused=access.token is None and not (access.loopback or args.insecure))
    for warning in warnings:
        logger.warning("%s", warning)
    client = JobsClient(access)
    submission = submit(client, plan, attach=args.follow)
    line = plan.equal_line(access, submission.id)
    print(f"{submission.id}: {'runs already, attached' if submission.attached else line}", file=sys.stderr)
    if args.follow:
        return follow(client, submission.id, {"attached": submission.attached, "ray_job_submit": line})
    return _submitted(submission, line)


def follow(client: JobsClient, submission_id: str, data: dict[str, Any]) -> Report:
    """The log until the job ends; its success is the exit status."""
    try:
        job = client.follow(submission_id, _to_stderr)
    except KeyboardInterrupt:
        hint = f"the job goes on; am-ray jobs logs --follow {submission_id}, am-ray jobs stop {submission_id}"
        print(f"\n{hint}", file=sys.stderr)
        raise
    text = f"{job.id} {job.status}" + ("" if job.succeeded else f": {job.message}")
    data = {"id": job.id, "status": job.status, "message": job.message} | data
    return Report(text, data, 0 if job.succeeded else 1)


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _plan(args: argparse.Namespace) -> JobPlan:
    from am_ray.jobs import check_arrives, plan_job
    from am_ray.settings_reader import settings_sha256

    settings = _settings(args)
    resources = settings.resources
    in_driver = args.command == "pretrain" and resources.num_learners == 0
    plan = plan_job(
        args.command,
        Path(args.config),
        args.options,
        run_name=args.run_name or Path(args.config).stem,
        storage=os.path.normpath(args.storage),
        resume=args.resume,
        settings_sha256=hashlib.sha256("\0".join([settings_sha256(settings), *args.options]).encode()).hexdigest(),
        working_dir=Path(args.working_dir),
        environment=args.env,
        num_cpus=args.cpus,
        num_gpus=args.gpus if args.gpus is not None else resources.num_gpus_per_learner if in_driver else 0.0,
    )
    for setting, path in _data_of(args.command, settings).items():
        check_arrives(path, setting, plan.package)
    return plan


def _settings(args: argparse.Namespace) -> StudySettings:
    """The settings as the command will resolve them, so that a mistake is found before anything is sent.

    The command's own parser reads the options after ``--``: it ends the program where one is unknown.
    """
    from am_ray.settings_reader import read_settings
    from am_ray.strict_yaml import apply_overrides, load_yaml
    from am_ray.study_settings import StudySettings

    for option in args.options:
        name = option.partition("=")[0]
        if len(name) > 3 and any(passed.startswith(name) for passed in _PASSED):
            raise SettingsError(f"{option}: stands after --; expected before it, where submit reads it too. Move it.")
    passed = _passed_on(args)
    mapping = load_yaml(args.config)
    read_settings(StudySettings, mapping, args.config)
    mapping = apply_overrides(mapping, [*passed.overrides, *_paths_as_settings(passed)])
    settings = read_settings(StudySettings, mapping, "options after --" if args.options else args.config)
    for name, path in _data_of(args.command, settings).items():
        if not path and name in ("dataset", "finetune.labelled"):
            raise SettingsError(f"{args.config}: {name}: not given; expected a dataset's folder. Add -- --dataset DIR.")
    return settings


def _paths_as_settings(passed: argparse.Namespace) -> list[str]:
    """``--dataset DIR`` and its like, as the settings that they stand for."""
    names = {"dataset": "dataset"}
    if passed.command == "finetune":
        names = {"dataset": "finetune.labelled"} | {name: f"finetune.{name}" for name in ("pretrained", "unlabelled")}
    paths = {setting: getattr(passed, name, None) for name, setting in names.items()}
    return [f"{setting}={json.dumps(path)}" for setting, path in paths.items() if path]


def _data_of(command: str, settings: StudySettings) -> dict[str, str]:
    """The settings of a command that name folders, and these."""
    if command != "finetune":
        return {"dataset": settings.dataset}
    return {f"finetune.{name}": getattr(settings.finetune, name) for name in ("labelled", "unlabelled", "pretrained")}


def _passed_on(args: argparse.Namespace) -> argparse.Namespace:
    """The options after ``--`` as the command's own parser reads them."""
    from am_ray.cli.main import _parser

    passed = _parser().parse_args([args.command, args.config, *args.options])
    passed.command = args.command
    return passed


def _warnings(args: argparse.Namespace, access: Access) -> list[str]:
    if not Path(args.storage).is_absolute():
        return [
            f"--storage {args.storage} is relative: it lies in the job's temporary copy of the working directory, is not seen "
            f"by other nodes and cannot be resumed. Give a path on storage that all nodes share."
        ]
    passed = _passed_on(args)
    if access.loopback or passed.tracking_uri or passed.no_tracking:
        return []
    return [
        f"tracking goes to {args.storage}/mlflow.db unless the nodes' MLFLOW_TRACKING_URI says otherwise: SQLite on storage that "
        f"machines share can be damaged. Add -- --tracking-uri http://HOST:5000 of an MLflow server, or -- --no-tracking."
    ]


def _dry_run(plan: JobPlan, access: Access, warnings: list[str], *, refused: bool) -> Report:
    from am_ray.jobs.package import readable

    package, line = plan.package, plan.equal_line(access, plan.base_id)
    token = f"from {access.token_source}" if access.token else "none"
    if refused:
        warnings = [
            *warnings,
            f"{access.address} is another machine and there is no token: refused without --insecure.",
        ]
    largest = [f"  {readable(size):>10}  {name}" for name, size in package.largest()]
    environment = {key: value for key, value in plan.runtime_env.items() if key != "working_dir"}
    rows = [
        f"address       {access.address} ({access.address_source})",
        f"token         {token}",
        f"submission id {plan.base_id} (-2, -3 ... when it was submitted before)",
        f"entrypoint    {plan.entrypoint}",
        f"reserved      {plan.num_cpus:g} CPUs, {plan.num_gpus:g} GPUs",
        f"environment   {environment}",
        f"working dir   {package.root}: {len(package.files)} files, {readable(package.size)}; the largest:",
        *largest,
        f"equal to      {line}",
        *[f"warning       {warning}" for warning in warnings],
        "nothing was sent",
    ]
    data = {
        "address": access.address,
        "address_source": access.address_source,
        "token_source": access.token_source,
        "submission_id": plan.base_id,
        "entrypoint": plan.entrypoint,
        "num_cpus": plan.num_cpus,
        "num_gpus": plan.num_gpus,
        "runtime_env": plan.runtime_env,
        "working_dir": {"path": str(package.root), "bytes": package.size, "files": package.files},
        "ray_job_submit": line,
        "warnings": warnings,
    }
    return Report("\n".join(rows), data, 1 if refused else 0)


def _submitted(submission: Submission, line: str) -> Report:
    text = f"submitted {submission.id}\nits log: am-ray jobs logs --follow {submission.id}"
    return Report(text, {"id": submission.id, "attached": submission.attached, "ray_job_submit": line})


def _keep_what_follows_two_dashes(parser: argparse.ArgumentParser) -> None:
    """Everything after ``--`` becomes ``options``, unread. argparse alone would take it for positional arguments of ours."""
    parse = parser.parse_known_args

    def split(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        cut = words.index("--") if "--" in words else len(words)
        namespace, rest = parse(words[:cut], namespace)
        namespace.options = words[cut + 1 :]
        return namespace, rest

    parser.parse_known_args = split  # type: ignore[method-assign, assignment]
