"""The README's Python runs as it stands there, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import am_ray

ROOT = Path(am_ray.__file__).parents[1]


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    script = blocks[0] + "\nassert action.shape == (2,) and abs(action).max() <= 1\n"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=100)


def test_no_number_is_missing() -> None:
    assert "@@" not in (ROOT / "README.md").read_text()


def test_every_file_that_the_docs_name_exists() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "datasets" / "README.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
        for path in re.findall(
            r"`((?:am_ray|tests|tune_configs|datasets)/[\w./]+\.(?:py|yaml))`", document.read_text()
        ):
            assert (ROOT / path).exists(), f"{document.name} names {path}"
