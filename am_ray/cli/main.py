"""``am-ray``: the commands, their exit statuses and their streams.

Exit status: 0 done, 1 a check found something wrong, 2 an error that the user can mend (one line on stderr),
130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TextIO

from am_ray import __version__
from am_ray.cli import (
    collect,
    compare,
    dataset,
    demo,
    doctor,
    evaluate,
    finetune,
    jobs,
    pretrain,
    submit,
    sweep,
    track,
    ui,
)
from am_ray.cli.report import Report, reserved_stdout, write_json
from am_ray.types import AmRayError

NOISY_LOGGERS = (
    "ray._common.deprecation",
    "ray._private.authentication.authentication_token_setup",
    "ray._private.worker",
    "ray.rllib.algorithms.algorithm_config",
    "ray.tune.utils.util",
)
COMMANDS = (collect, dataset, pretrain, evaluate, finetune, sweep, compare, track, ui, submit, jobs, demo, doctor)


class Terminated(KeyboardInterrupt):
    """SIGTERM: handled like Ctrl-C (checkpoints are saved), but with its own exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    args = _parser().parse_args(arguments)
    _prepare()
    try:
        return _run(args)
    except AmRayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Terminated:
        print("terminated", file=sys.stderr)
        return 143
    except SystemExit as stop:
        # ray.init replaces our handler of SIGTERM by one that calls sys.exit(15).
        if stop.code != signal.SIGTERM:
            raise
        print("terminated", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) left: nothing is wrong. Python would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="am-ray", description="Actionable Models: robot skills from unlabelled trajectories, on Ray."
    )
    parser.add_argument("--version", action="version", version=f"am-ray {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _prepare() -> None:
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    # What these warn about, a user of am-ray cannot change. By name: Ray sets the levels of "ray" and "ray.rllib" itself.
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    signal.signal(signal.SIGTERM, _terminate)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the moment: progress bars replace it, to keep lines above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _run(args: argparse.Namespace) -> int:
    # Ray, PyBullet and others write to stdout from C; the result is the only thing that belongs there.
    with reserved_stdout() as stream:
        report: Report = args.run(args)
        if args.json is True:
            write_json(report.data, stream)
        elif report.text:
            stream.write(report.text + "\n")
        return report.code


if __name__ == "__main__":
    sys.exit(main())
