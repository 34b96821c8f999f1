"""``am-ray doctor``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from am_ray.cli.report import Report


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser("doctor", help="say what is wrong with this machine")
    parser.add_argument("--deep", action="store_true", help="also start Ray and run a task (some ten seconds)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.doctor import examine

    checks = examine(deep=args.deep)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<5} {check.name}: {check.found}")
        if check.remedy:
            lines.append(f"      -> {check.remedy}")
    failed = any(check.status == "fail" for check in checks)
    lines.append("Some commands will not work here." if failed else "Nothing here stops am-ray from working.")
    return Report("\n".join(lines), {"ok": not failed, "checks": [asdict(c) for c in checks]}, int(failed))
