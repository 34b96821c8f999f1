"""`python -m study`: the studies behind docs/RESULTS.md (`make study`; with ``--images``: `make study-images`).

Hours. Stop it when you like; the same command goes on. With ``--report`` it runs nothing, says of what has been run so far whether it
came out as published, and writes its tables and figures; a study ends with that, too. With ``--rehearse`` every step is small, and nothing that is published is touched.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from study.plan import Folders, Step, image_steps, state_steps
from study.rehearsal import FOLDERS, rehearsed, report_places
from study.report import RESULTS, write_report
from study.reproduction import reproduction_lines

STUDY = Folders(Path("data"), Path("runs/study"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m study", description="Runs the studies behind docs/RESULTS.md.")
    parser.add_argument("--images", action="store_true", help="the study from images instead of the one from states")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="steps whose name has one of these words")
    parser.add_argument("--list", action="store_true", help="print the steps, run nothing")
    parser.add_argument("--report", action="store_true", help="write tables and figures of what there is, run nothing")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help=f"every step small, in {FOLDERS.data} and {FOLDERS.runs}: that all goes together",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: data")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="default: runs/study")
    args = parser.parse_args()
    default = FOLDERS if args.rehearse else STUDY
    folders = Folders(args.data or default.data, args.runs or default.runs)
    if args.rehearse and (folders.data == STUDY.data or folders.runs == STUDY.runs):
        parser.error(
            f"--rehearse: got the study's own {folders.data} and {folders.runs}; expected others. Leave --data and --runs out."
        )
    steps = image_steps(folders) if args.images else state_steps(folders)
    steps = [rehearsed(step) for step in steps] if args.rehearse else steps
    steps = [step for step in steps if not args.only or any(word in step.name for word in args.only)]
    for number, step in enumerate([] if args.report else steps, 1):
        state = "done" if step.is_done else "to do"
        print(f"[{number}/{len(steps)}, {state}] {step.name}: {' '.join(step.command)}", flush=True)
        if not args.list and not step.is_done:
            begun = time.monotonic()
            status = _run(step)
            print(f"study: {step.name!r} took {(time.monotonic() - begun) / 60:.1f} minutes", flush=True)
            if status:
                print(f"study: step {step.name!r} ended with status {status}; mend that, then run this again.")
                return status
    if not args.list:
        places = report_places(folders.runs) if args.rehearse else {}
        for line in reproduction_lines(folders.runs, places.get("results", RESULTS)):
            print(line)
        for path in write_report(folders.runs, **places):
            print(path)
    return 0


def _run(step: Step) -> int:
    if step.product is not None:
        step.product.parent.mkdir(parents=True, exist_ok=True)
    command = list(step.command)
    if command[0] == "am-ray":  # the one of this environment, whether it is activated or not
        command[0] = str(Path(sys.executable).with_name("am-ray"))
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
