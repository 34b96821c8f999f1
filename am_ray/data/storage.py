"""One place for bytes: local folders and every ``pyarrow.fs`` URI behind the same few calls."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

from am_ray.types import DatasetError

TEMPORARY_SUFFIX = ".tmp"
RESTORE_OR_SKIP = (
    "Restore the file, or leave its episodes out with 'am-ray pretrain --skip-bad-files'."  # data files only
)


@dataclass(frozen=True)
class Storage:
    """A folder on some file system; every path handed to it is relative to that folder.

    Attributes:
        filesystem: The ``pyarrow.fs`` file system (picklable, so that Ray tasks can carry it).
        root: The folder's path on that file system.
        name: The folder as the user wrote it, for messages.
    """

    filesystem: Any
    root: str
    name: str

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def path(self, relative: str) -> str:
        """The full path of ``relative``.

        Raises:
            DatasetError: If ``relative`` is absolute, is not in normal form, or leaves the folder (also by a link).
        """
        normal = posixpath.normpath(relative)
        if not relative or normal != relative or normal.startswith(("/", "..")) or "\\" in relative or ":" in relative:
            raise self._escape(relative)
        full = posixpath.join(self.root, relative)
        if self.is_local and not Path(full).resolve().is_relative_to(Path(self.root).resolve()):
            raise self._escape(relative)
        return full

    def _escape(self, relative: str) -> DatasetError:
        return DatasetError(
            f"{self.name}: the path {relative!r} leaves the dataset's folder; expected a plain relative path such as "
            "'data/chunk-000/file-000.parquet'. Do not use this dataset unless you trust where it comes from."
        )

    def size(self, relative: str) -> int | None:
        """Size in bytes, or ``None`` where there is no such file."""
        info = self.filesystem.get_file_info(self.path(relative))
        return int(info.size) if info.type == fs.FileType.File else None

    def exists(self, relative: str) -> bool:
        return self.size(relative) is not None

    def list_files(self, folder: str = "") -> dict[str, int]:
        """Every file below ``folder`` with its size, by relative path, in order."""
        base = self.path(folder) if folder else self.root
        infos = self.filesystem.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        files = {posixpath.relpath(i.path, self.root): int(i.size) for i in infos if i.type == fs.FileType.File}
        return dict(sorted(files.items()))

    def open_input(self, relative: str) -> Any:
        """A seekable file to read."""
        try:
            return self.filesystem.open_input_file(self.path(relative))
        except OSError as error:
            raise DatasetError(
                f"{self.name}/{relative}: cannot be opened ({error}); expected a readable file. "
                "Restore it, or rebuild the dataset."
            ) from error

    def read_bytes(self, relative: str) -> bytes:
        with self.open_input(relative) as stream:
            return bytes(stream.readall())

    @contextlib.contextmanager
    def write_atomically(self, relative: str) -> Iterator[Any]:
        """A stream whose file appears whole or not at all.

        Locally: a temporary file, fsync, rename. On object stores an upload becomes visible when it is complete.
        """
        target = self.path(relative)
        self.filesystem.create_dir(posixpath.dirname(target), recursive=True)
        written = target + TEMPORARY_SUFFIX if self.is_local else target
        with self.filesystem.open_output_stream(written) as stream:
            yield stream
        if self.is_local:
            _fsync(written)
            self.filesystem.move(written, target)
            _fsync(posixpath.dirname(target))

    def write_bytes(self, relative: str, data: bytes) -> None:
        with self.write_atomically(relative) as stream:
            stream.write(data)

    def delete_file(self, relative: str) -> None:
        self.filesystem.delete_file(self.path(relative))

    def move_file(self, relative: str, target: str) -> None:
        path = self.path(target)
        self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        self.filesystem.move(self.path(relative), path)

    def has_root(self) -> bool:
        return bool(self.filesystem.get_file_info(self.root).type != fs.FileType.NotFound)

    def delete_empty_root(self) -> None:
        """Remove the folder itself if it is local and nothing is left in it; object stores have no empty folders."""
        if self.is_local:
            with contextlib.suppress(OSError):
                Path(self.root).rmdir()

    def delete_folder(self, folder: str) -> None:
        """Remove ``folder`` and all that is in it; nothing happens where it does not exist."""
        path = self.path(folder)
        if self.filesystem.get_file_info(path).type == fs.FileType.Directory:
            self.filesystem.delete_dir(path)


def open_storage(path: str | os.PathLike[str]) -> Storage:
    """The storage behind a local path or a ``pyarrow.fs`` URI (``file://``, ``s3://bucket/x?endpoint_override=...``).

    Raises:
        DatasetError: If the URI names a file system that pyarrow does not know.
    """
    name = os.fspath(path)
    if "://" not in name:
        return Storage(fs.LocalFileSystem(), Path(name).expanduser().absolute().as_posix(), name)
    try:
        filesystem, root = fs.FileSystem.from_uri(name)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{name}: not a place that can be read ({error}); expected a local path or a URI that pyarrow.fs knows, "
            "such as file:///data/set or s3://bucket/set?region=eu-central-1."
        ) from error
    return Storage(filesystem, root.rstrip("/"), name.split("?")[0].rsplit("@")[-1])


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
