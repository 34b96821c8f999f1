"""The doctor finds what is wrong and says what to do; nothing it looks at may stop it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from am_ray import doctor
from am_ray.doctor import Check


def only(checks: Any) -> Check:
    (check,) = list(checks)
    assert isinstance(check, Check)
    return check


def test_healthy_machine_has_no_failure() -> None:
    checks = doctor.examine()
    assert [check for check in checks if check.status == "fail"] == []
    assert all(check.remedy for check in checks if check.status != "ok")


@pytest.mark.parametrize("version", [(3, 10), (3, 12), (3, 13)])
def test_other_pythons_fail(version: tuple[int, int]) -> None:
    check = only(doctor.check_python(version))
    assert check.status == "fail"
    assert "3.11" in check.remedy


def test_lock_reader_normalises_names_and_ignores_comments() -> None:
    pins = doctor.read_lock("# torch==1.0\nimportlib_metadata==9.1.0\nray[rllib]==2.60.0\nFlask==3.1.3 ; x\n")
    assert pins == {"importlib-metadata": "9.1.0", "ray": "2.60.0", "flask": "3.1.3"}


def test_versions_beside_the_lock_file_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.0.1\nnot-installed-here==1.0\n")

    check = only(doctor.check_packages(lock))

    assert check.status == "warn"
    assert "numpy" in check.found and "(lock: 0.0.1)" in check.found
    assert "not-installed-here" not in check.found


def test_missing_packages_fail_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "RUNTIME", ("numpy", "no-such-package"))
    check = only(doctor.check_packages(tmp_path / "none"))
    assert (check.status, check.found) == ("fail", "missing: no-such-package")


@pytest.mark.parametrize(
    ("check", "name"), [(doctor.check_pybullet, "pybullet"), (doctor.check_torch, "torch"), (doctor.check_ray, "ray")]
)
def test_a_package_that_breaks_on_import_is_a_finding(monkeypatch: pytest.MonkeyPatch, check: Any, name: str) -> None:
    def broken(asked: str) -> Any:
        raise OSError(f"lib{asked}.so: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)

    finding = only(check())

    assert finding.status == "fail"
    assert f"lib{name}.so" in finding.found
    assert finding.remedy


def test_pybullet_without_numpy_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(isNumpyEnabled=lambda: 0))
    assert only(doctor.check_pybullet()).status == "fail"


def test_shared_memory_smaller_than_the_object_store_is_a_warning(tmp_path: Path) -> None:
    huge = only(doctor.check_shared_memory(tmp_path, memory_bytes=10**18))
    assert huge.status == "warn" and "--shm-size" in huge.remedy
    assert only(doctor.check_shared_memory(tmp_path, memory_bytes=1)).status == "ok"
    assert only(doctor.check_shared_memory(tmp_path / "missing")).status == "warn"


def test_a_full_disk_is_a_warning(tmp_path: Path) -> None:
    assert [c.status for c in doctor.check_disk(tmp_path, wanted_bytes=0)] == ["ok"]
    assert "warn" in [c.status for c in doctor.check_disk(tmp_path, wanted_bytes=10**18)]


def test_threads_and_ray_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert "64 on 2 processors" in list(doctor.check_processors())[-1].found
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    assert only(doctor.check_ray_address()).status == "warn"
    monkeypatch.delenv("RAY_ADDRESS")
    assert list(doctor.check_ray_address()) == []


@pytest.mark.slow
def test_deep_examination_runs_a_task_on_ray() -> None:
    code = "from am_ray.doctor import check_ray; print([c.status for c in check_ray()])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "['ok']"
