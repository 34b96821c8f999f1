"""Exit statuses, streams and start-up time: what scripts rely on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from am_ray import doctor as examination
from am_ray.cli import doctor as doctor_command
from am_ray.cli.main import COMMANDS, main
from am_ray.cli.report import Report

from .conftest import AmRay

HEAVY = ("ray", "torch", "pyarrow", "pybullet", "mlflow", "gymnasium", "rich", "yaml", "matplotlib")


def cpu_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def test_help_and_import_are_quick() -> None:
    # CPU time, so that a busy machine does not fail the test; the best of three.
    assert min(cpu_seconds("import am_ray") for _ in range(3)) < 0.3
    show_help = "import sys; sys.argv = ['am-ray', '--help']; import am_ray.cli.main as m; m.main()"
    assert min(cpu_seconds(f"try:\n {show_help}\nexcept SystemExit: pass") for _ in range(3)) < 0.5


def test_parsing_imports_nothing_heavy() -> None:
    code = (
        "import sys, am_ray, am_ray.cli.main as m; m._parser().parse_args(['dataset', 'info', 'x'])\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [[], *[[command.__name__.rsplit(".", 1)[-1]] for command in COMMANDS]]
    + [["dataset", name] for name in ("info", "validate", "repair", "render")]
    + [["jobs", name] for name in ("list", "status", "logs", "stop")]
    + [["track", name] for name in ("sync", "status")],
)
def test_every_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['am-ray', *arguments])} ")


def test_an_error_of_ours_is_one_line_and_status_2(am_ray: AmRay, tmp_path: Path) -> None:
    run = am_ray("dataset", "info", tmp_path / "nowhere", "--json")
    assert (run.code, run.stdout) == (2, "")
    assert run.stderr.startswith("error: ") and "nowhere" in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_end_a_command_with_their_status(
    am_ray: AmRay, monkeypatch: pytest.MonkeyPatch, number: int, code: int, word: str
) -> None:
    monkeypatch.setattr(examination, "examine", lambda **_: os.kill(os.getpid(), number))
    # A shell starts jobs in the background with SIGINT ignored, and this process inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = am_ray("doctor", "--json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (run.code, run.stdout, run.stderr) == (code, "", f"{word}\n")


def test_sigterm_is_143_under_rays_handler_too(am_ray: AmRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "examine", lambda **_: sys.exit(signal.SIGTERM))
    assert am_ray("doctor").code == 143
    monkeypatch.setattr(examination, "examine", lambda **_: sys.exit(7))
    with pytest.raises(SystemExit, match="7"):
        am_ray("doctor")


def test_an_error_that_is_a_bug_keeps_its_traceback(am_ray: AmRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(examination, "examine", broken)
    with pytest.raises(ZeroDivisionError):
        am_ray("doctor")


def test_stdout_holds_the_document_alone() -> None:
    """Python's and C's output, buffered or not, before and after."""
    code = """
import ctypes, os, sys
from am_ray.cli.report import Report
from am_ray.cli import doctor, main
def noisy(args):
    print("from python")
    ctypes.CDLL(None).printf(b"from C\\n")
    os.write(1, b"from the kernel\\n")
    return Report("text", {"nan": float("nan"), "list": [1.0, float("inf")], "path": "x"})
doctor.run = noisy
sys.exit(main.main(["doctor", "--json"]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == '{\n  "nan": null,\n  "list": [\n    1.0,\n    null\n  ],\n  "path": "x"\n}\n'
    assert {"from python", "from C", "from the kernel"} <= set(done.stderr.splitlines())


def test_a_reader_that_leaves_early_is_no_error() -> None:
    pipe = f"{sys.executable} -m am_ray.cli.main doctor | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_the_status_of_a_report_is_the_status_of_the_command(am_ray: AmRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_command, "run", lambda args: Report("all of it", {"a": 1}, 7))
    assert (am_ray("doctor").stdout, am_ray("doctor").code) == ("all of it\n", 7)
    assert am_ray("doctor", "--json").json == {"a": 1}


def test_doctor_reports_findings_as_text_and_json(am_ray: AmRay, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = examination.Check("disk", "fail", "full", "Make room.")
    monkeypatch.setattr(examination, "examine", lambda **_: [bad])
    text, data = am_ray("doctor"), am_ray("doctor", "--json")
    assert text.code == data.code == 1
    assert "fail  disk: full" in text.stdout and "-> Make room." in text.stdout
    assert data.json == {
        "ok": False,
        "checks": [{"name": "disk", "status": "fail", "found": "full", "remedy": "Make room."}],
    }
