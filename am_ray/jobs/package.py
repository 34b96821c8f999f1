"""The working directory that travels with a job: which files, how large, and the refusal of one that is too large.

Ray finds that out when it has zipped everything, and then names no file. Here it is found out first, by Ray's own rules
(.gitignore and .rayignore of every folder).
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from am_ray.jobs.access import JobsError

# Ray puts files into the zip as they are; per entry two headers and twice its name.
_HEADERS, _END = 30 + 46, 22
_SHOWN = 10


@dataclass(frozen=True)
class Package:
    """Files that go to the cluster.

    Attributes:
        root: The working directory.
        files: Path relative to ``root``, with slashes, to size in bytes.
    """

    root: Path
    files: dict[str, int]

    @property
    def size(self) -> int:
        """Bytes of the zip archive."""
        return _END + sum(size + _HEADERS + 2 * len(name.encode()) for name, size in self.files.items())

    def largest(self, count: int = _SHOWN) -> list[tuple[str, int]]:
        return sorted(self.files.items(), key=lambda item: (-item[1], item[0]))[:count]

    def holds(self, path: str) -> bool:
        """Whether a path relative to the root is a file of the package, or a folder with one."""
        name = os.path.normpath(path)
        return name in self.files or any(file.startswith(name + "/") for file in self.files)


def package_of(root: Path, *, limit: int | None = None) -> Package:
    """What Ray would upload of ``root``.

    Args:
        root: The working directory.
        limit: Bytes of the archive; by default Ray's, 512 MiB.

    Raises:
        JobsError: ``root`` is no folder, or the archive would not be accepted.
    """
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, _dir_travel

    if not root.is_dir():
        raise JobsError(f"{root}: not a folder; expected the working directory of the job. Correct --working-dir.")
    root, files = root.absolute(), dict[str, int]()

    def add(path: Path) -> None:
        if path.is_file():
            files[path.relative_to(root).as_posix()] = path.stat().st_size

    quiet = logging.getLogger(f"{__name__}.walk")
    quiet.setLevel(logging.ERROR)
    # Ray's client reads this variable too.
    with_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    _dir_travel(root, [], add, include_gitignore=with_gitignore, logger=quiet)
    package = Package(root, dict(sorted(files.items())))
    limit = GCS_STORAGE_MAX_SIZE if limit is None else limit
    if package.size >= limit:
        largest = "\n".join(f"  {readable(size):>10}  {name}" for name, size in package.largest())
        raise JobsError(
            f"{root}: {readable(package.size)} would be uploaded; Ray takes less than {readable(limit)}. The largest of "
            f"{len(files)} files:\n{largest}\nAdd what the job does not need to {root / '.rayignore'} (the syntax of "
            f".gitignore), and put data where all nodes see them."
        )
    return package


def readable(size: int) -> str:
    unit, scale = ("MiB", 2**20) if size >= 2**20 else ("KiB", 2**10)
    return f"{size / scale:.1f} {unit}"
