"""Which package may import which part of Ray: import-linter sees whole packages only, not ``ray.rllib``."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import am_ray

ROOT = Path(am_ray.__file__).parent
# Part of a third-party package -> the folders or files of ours that may import it.
GATES = {
    "ray.rllib": ("algorithm",),
    "ray.data": ("data",),
    "pyarrow": ("data",),
    "pybullet": ("envs/sim.py",),
    "ray.tune": ("trials", "sweep"),
    "ray.job_submission": ("jobs",),
    "mlflow": ("tracking",),
}


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_of_ray(path: Path) -> Iterator[str]:
    """``ray.data`` and the like in expressions: after ``import ray`` they need no import of their own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ray":
            yield f"ray.{node.attr}"


def test_third_party_gates() -> None:
    users: dict[str, set[str]] = {gate: set() for gate in GATES}
    for path in ROOT.rglob("*.py"):
        for name in {*imported_names(path), *names_of_ray(path)}:
            for gate in GATES:
                if name == gate or name.startswith(gate + "."):
                    users[gate].add(path.relative_to(ROOT).as_posix())
    for gate, allowed in GATES.items():
        assert users[gate], f"nothing imports {gate}: is this test still looking at the right place?"
        assert {user for user in users[gate] if not user.startswith(allowed)} == set()


def test_nothing_reads_pickles() -> None:
    """Datasets and checkpoints are data, never code."""
    for path in ROOT.rglob("*.py"):
        roots = {name.split(".")[0] for name in imported_names(path)}
        assert not roots & {"pickle", "cloudpickle", "joblib", "dill"}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "yaml.unsafe_load"):
                assert "weights_only=True" in ast.unparse(node) or "allow_pickle=False" in ast.unparse(node), path


def test_core_and_models_need_torch_alone() -> None:
    """They run on any GPU machine that has torch: nothing else may be needed to import them."""
    script = """
import sys
for name in ("ray", "pyarrow", "pybullet", "mlflow", "gymnasium", "yaml", "safetensors", "jaxtyping", "rich", "PIL"):
    sys.modules[name] = None  # importing it raises
import am_ray, am_ray.core.relabel, am_ray.models.policy, am_ray.models.checkpoint
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)
