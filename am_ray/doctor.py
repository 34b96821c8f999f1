"""What is wrong with this machine, and what to do about it. Works when the packages it asks about are missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

GIB = 1024**3
LOCK_PATH = Path(__file__).parent.parent / "requirements.lock"
# Ray's share of the memory for its object store, and the largest one it makes by itself.
OBJECT_STORE_SHARE = 0.3
MIN_FREE_DISK_BYTES = 5 * GIB
RUNTIME = (
    "gymnasium",
    "mlflow",
    "numpy",
    "pillow",
    "pyarrow",
    "pybullet",
    "pyyaml",
    "ray",
    "rich",
    "safetensors",
    "torch",
)


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        status: ``warn``: things work, worse than they could; ``fail``: some command will not work.
        found: What is there.
        remedy: What to do; empty where nothing is to be done.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def examine(*, deep: bool = False, folder: Path | None = None) -> list[Check]:
    """Look at everything that commonly goes wrong.

    Args:
        deep: Also start a small Ray instance and run a task on it (some ten seconds).
        folder: Where runs and datasets will be written; the current folder by default.
    """
    place = Path.cwd() if folder is None else folder
    checks: list[Callable[[], Iterator[Check]]] = [
        check_python,
        check_platform,
        lambda: check_packages(LOCK_PATH),
        check_pybullet,
        check_torch,
        check_processors,
        check_shared_memory,
        lambda: check_disk(place),
        check_ray_address,
    ]
    if deep:
        checks.append(check_ray)
    return [finding for check in checks for finding in check()]


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Check]:
    found = f"{version[0]}.{version[1]} at {sys.executable}"
    if version == (3, 11):
        yield Check("python", "ok", found)
    else:
        yield Check(
            "python",
            "fail",
            found,
            "Use Python 3.11: pybullet has no wheels for others (make setup PYTHON=python3.11).",
        )


def check_platform() -> Iterator[Check]:
    found = f"{platform.system()} {platform.machine()}"
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        yield Check("platform", "ok", found)
    else:
        yield Check("platform", "fail", found, "Use Linux on x86-64; elsewhere pybullet must be compiled from source.")


def read_lock(text: str) -> dict[str, str]:
    """The pinned version of each package, by normalised name."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", text, flags=re.MULTILINE)
    return {_normalised(name): version for name, version in pins}


def check_packages(lock_path: Path) -> Iterator[Check]:
    """Installed versions against the lock file, where there is one (a wheel is installed without it)."""
    pins = read_lock(lock_path.read_text()) if lock_path.exists() else {}
    installed = {_normalised(d.name): d.version for d in importlib.metadata.distributions() if d.name}
    missing = [name for name in RUNTIME if name not in installed]
    if missing:
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", "Run 'make setup', or 'pip install -e .'.")
    # "+cpu" and the like name a build of the same version.
    other = [
        f"{name} {installed[name]} (lock: {pin})"
        for name, pin in pins.items()
        if name in installed and installed[name].partition("+")[0] != pin
    ]
    if other:
        shown = ", ".join(other[:5]) + (f" and {len(other) - 5} more" if len(other) > 5 else "")
        yield Check("lock file", "warn", shown, "Run 'make setup' for the versions that the tests ran with.")
    elif not missing:
        yield Check(
            "packages", "ok", f"{len(installed)} installed" + (", as the lock file says" if pins else ", no lock file")
        )


def check_pybullet() -> Iterator[Check]:
    pybullet = _imported("pybullet")
    if isinstance(pybullet, str):
        yield Check(
            "pybullet", "fail", pybullet, "Install pybullet 3.2.7 in Python 3.11; 'am-ray pretrain' works without."
        )
    elif not pybullet.isNumpyEnabled():
        yield Check(
            "pybullet",
            "fail",
            "built without NumPy",
            "Reinstall it from its wheel: pip install --force-reinstall pybullet.",
        )
    else:
        yield Check("pybullet", "ok", "with NumPy")


def check_torch() -> Iterator[Check]:
    torch = _imported("torch")
    if isinstance(torch, str):
        yield Check("torch", "fail", torch, "Run 'make setup'.")
    elif torch.cuda.is_available():
        names = sorted({torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())})
        yield Check("torch", "ok", f"{torch.__version__}, {torch.cuda.device_count()} GPUs ({', '.join(names)})")
    elif shutil.which("nvidia-smi"):
        remedy = "Install torch's CUDA build, or check the driver; training runs on the CPU meanwhile."
        yield Check("torch", "warn", f"{torch.__version__} sees no GPU, but nvidia-smi is here", remedy)
    else:
        yield Check("torch", "ok", f"{torch.__version__}, no GPU")


def check_processors() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    status: Literal["ok", "warn"] = "ok" if usable >= 2 else "warn"
    yield Check(
        "processors",
        status,
        f"{usable} usable",
        "" if usable >= 2 else "Two are the least for collecting beside training.",
    )
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is None and usable > 1:
        remedy = "Set OMP_NUM_THREADS=1 when several processes share these processors; small networks gain nothing from more."
        yield Check("threads", "warn", "OMP_NUM_THREADS is not set", remedy)
    elif threads is not None and threads.isdigit() and int(threads) > usable:
        yield Check(
            "threads", "warn", f"OMP_NUM_THREADS={threads} on {usable} processors", f"Set it to {usable} or less."
        )


def check_shared_memory(path: Path = Path("/dev/shm"), memory_bytes: int | None = None) -> Iterator[Check]:
    """Ray keeps its object store in shared memory; with less it falls back to the disk, ten times slower."""
    if not path.exists():
        yield Check("shared memory", "warn", f"no {path}", "Ray will keep its object store on disk, which is slow.")
        return
    total = _memory_bytes() if memory_bytes is None else memory_bytes
    free, wanted = shutil.disk_usage(path).free, int(total * OBJECT_STORE_SHARE)
    found = f"{free / GIB:.1f} GiB free in {path}; Ray's object store takes up to {wanted / GIB:.1f}"
    if free >= wanted:
        yield Check("shared memory", "ok", found)
    else:
        remedy = (
            f"In a container: --shm-size={wanted / GIB:.0f}g. Without it, Ray keeps objects on disk, ten times slower."
        )
        yield Check("shared memory", "warn", found, remedy)


def check_disk(folder: Path, wanted_bytes: int = MIN_FREE_DISK_BYTES) -> Iterator[Check]:
    found = []
    for place in dict.fromkeys((folder, Path("/tmp"))):  # Ray's session files go to /tmp
        free = shutil.disk_usage(place).free
        found.append(f"{free / GIB:.0f} GiB in {place}")
        if free < wanted_bytes:
            yield Check("disk", "warn", f"{free / GIB:.1f} GiB free in {place}", "Make room; Ray stops at 95 % full.")
    yield Check("disk", "ok", "free: " + ", ".join(found))


def check_ray_address() -> Iterator[Check]:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        remedy = "Commands that start Ray will join that cluster; unset it to work on this machine."
        yield Check("RAY_ADDRESS", "warn", address, remedy)


def check_ray() -> Iterator[Check]:
    ray = _imported("ray")
    if isinstance(ray, str):
        yield Check("ray", "fail", ray, "Run 'make setup'.")
        return
    try:
        ray.init(
            address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 * 1024**2, log_to_driver=False
        )
        answer = ray.get(ray.remote(_process_id).remote(), timeout=60)
        yield Check("ray", "ok", f"{ray.__version__} ran a task in process {answer}")
    except Exception as error:  # whatever stops Ray is the finding
        remedy = (
            "See the newest log in /tmp/ray/session_latest/logs; a proxy setting, a full disk or a firewall is common."
        )
        yield Check("ray", "fail", f"{type(error).__name__}: {error}".splitlines()[0], remedy)
    finally:
        ray.shutdown()


def _imported(name: str) -> Any:
    """The module, or a text that says why it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken wheel raises anything
        return f"cannot be imported: {type(error).__name__}: {error}"


def _process_id() -> int:
    return os.getpid()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
