"""The manifest: which files make up a dataset, their hashes, and the digest of the data. Written last of all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from am_ray.data.journal import JOURNAL_FOLDER
from am_ray.data.storage import RESTORE_OR_SKIP, Storage
from am_ray.types import DatasetError

MANIFEST_PATH = "meta/manifest.json"
MANIFEST_VERSION = 1
FOOTER_TAIL = 8  # a Parquet file ends in the footer's length (4 bytes) and the magic bytes PAR1
HASH_CHUNK = 1 << 22
# Not all of data/: a folder of datasets may be called that.
WRITTEN = re.compile(rf"(data|meta/episodes)/chunk-\d+/file-\d+\.parquet(\.tmp)?|meta/[^/]+|{JOURNAL_FOLDER}/[^/]+")


@dataclass(frozen=True)
class FileEntry:
    """One file of a dataset.

    Attributes:
        path: Relative to the dataset's folder.
        bytes: Size.
        sha256: Of the whole file.
        footer_sha256: Of a data file's Parquet footer: cheap to check when a dataset is opened, and different for every
            other data file, because the footer carries the hashes of the episodes. ``None`` for other files.
        row_groups: Of a data file: rows of each episode, by row group. ``None`` for other files.
    """

    path: str
    bytes: int
    sha256: str
    footer_sha256: str | None = None
    row_groups: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """``meta/manifest.json``: the commit marker of a dataset.

    Attributes:
        digest: Of the data alone: the same for every write of the same trajectories.
        files: Every file below ``data`` and ``meta`` but the manifest, data files in episode order.
    """

    digest: str
    files: tuple[FileEntry, ...]

    @property
    def data_files(self) -> list[FileEntry]:
        return [entry for entry in self.files if entry.row_groups is not None]

    def to_json(self) -> dict[str, Any]:
        return {"version": MANIFEST_VERSION, "digest": self.digest, "files": [asdict(entry) for entry in self.files]}

    @classmethod
    def read(cls, storage: Storage) -> Manifest:
        """Read the manifest.

        Raises:
            DatasetError: If there is none (nothing was committed), or it is not a manifest.
        """
        if not storage.exists(MANIFEST_PATH):
            raise nothing_committed(storage)
        try:
            value = json.loads(storage.read_bytes(MANIFEST_PATH))
            if value["version"] != MANIFEST_VERSION:
                raise ValueError(f"version {value['version']}, expected {MANIFEST_VERSION}")
            manifest = cls(str(value["digest"]), tuple(_entry(v) for v in value["files"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{storage.name}/{MANIFEST_PATH}: not a manifest ({type(error).__name__}: {error}). "
                "Restore it, or delete it and run 'am-ray dataset repair'."
            ) from error
        for entry in manifest.files:
            storage.path(entry.path)  # refuses a path that leaves the folder
        return manifest

    def write(self, storage: Storage) -> None:
        storage.write_bytes(MANIFEST_PATH, json.dumps(self.to_json(), indent=1).encode())


def was_begun(files: Iterable[str]) -> bool:
    """Whether files are what an interrupted write leaves: a journal, metadata or data files at their places."""
    return any(WRITTEN.fullmatch(path) for path in files)


def nothing_committed(storage: Storage) -> DatasetError:
    """Why a folder without a manifest cannot be read: an interrupted write, or no dataset at all."""
    files = storage.list_files()
    if was_begun(files):
        return DatasetError(
            f"{storage.name}: no {MANIFEST_PATH}; expected one, because it marks a finished write. "
            "The write was interrupted: run 'am-ray dataset repair'."
        )
    below = [path.removesuffix(f"/{MANIFEST_PATH}") for path in files if path.endswith(f"/{MANIFEST_PATH}")]
    found = f"{len(files)} other files" if files else "nothing"
    remedy = f"Datasets below it: {', '.join(below[:5])}." if below else "Check the path."
    return DatasetError(
        f"{storage.name}: there is no dataset here: got {found}; expected a folder with {MANIFEST_PATH}. {remedy}"
    )


def _entry(value: Mapping[str, Any]) -> FileEntry:
    groups = value["row_groups"]
    return FileEntry(
        path=str(value["path"]),
        bytes=int(value["bytes"]),
        sha256=str(value["sha256"]),
        footer_sha256=value["footer_sha256"],
        row_groups=None if groups is None else tuple(tuple(int(n) for n in group) for group in groups),
    )


def describe_file(storage: Storage, path: str, row_groups: Iterable[Iterable[int]] | None = None) -> FileEntry:
    """The manifest entry of a file as it is now."""
    size = storage.size(path)
    footer = None if row_groups is None else footer_hash(storage, path, size or 0)
    groups = None if row_groups is None else tuple(tuple(group) for group in row_groups)
    return FileEntry(path, size or 0, file_hash(storage, path), footer, groups)


def file_hash(storage: Storage, path: str) -> str:
    """Sha256 of a whole file."""
    digest = hashlib.sha256()
    with storage.open_input(path) as stream:
        while chunk := stream.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def footer_hash(storage: Storage, path: str, size: int) -> str:
    """Sha256 of a Parquet file's footer (metadata, its length, and the magic bytes).

    Raises:
        DatasetError: If the file does not end like a Parquet file.
    """
    with storage.open_input(path) as stream:
        tail = stream.read_at(FOOTER_TAIL, size - FOOTER_TAIL) if size > 2 * FOOTER_TAIL else b""
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != b"PAR1" or length > size - 2 * FOOTER_TAIL:
            raise DatasetError(
                f"{storage.name}/{path}: got {size} bytes that do not end like a Parquet file; expected a whole file. "
                + RESTORE_OR_SKIP
            )
        footer = stream.read_at(length + FOOTER_TAIL, size - FOOTER_TAIL - length)
    return hashlib.sha256(footer).hexdigest()
