"""Which MLflow, and which kinds of addresses work."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from am_ray.tracking.spool import absolute, find_folders, top_folder
from am_ray.types import AmRayError

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SECRET = re.compile(r"(://[^/@\s:]*):[^@/\s]+@")


class TrackingError(AmRayError):
    """An MLflow address that cannot be used, or a place without anything to send."""


@dataclass(frozen=True)
class Target:
    """An MLflow to send to.

    Attributes:
        uri: Of a server, or of a database that is written to directly.
        artifacts: Where files go if there is no server to take them; None with a server.
        experiment: Name of the experiment of all runs.
    """

    uri: str
    artifacts: Path | None
    experiment: str = "am-ray"

    @property
    def shown(self) -> str:
        """The address without password."""
        return _SECRET.sub(r"\1:***@", self.uri)

    @property
    def digest(self) -> str:
        """A short name of the target, for files that say what it already has."""
        return hashlib.sha256(f"{self.uri} {self.experiment}".encode()).hexdigest()[:12]

    @property
    def database(self) -> Path | None:
        """The SQLite file, if it is one."""
        scheme, _, path = self.uri.partition(":///")
        return Path(path) if scheme.partition("+")[0] == "sqlite" else None


def resolve_target(root: Path, uri: str | None) -> Target:
    """The target that ``uri``, else MLFLOW_TRACKING_URI names; by default an SQLite file beside the runs.

    Args:
        root: Folder of a run or a study, which need not exist yet, or of several.
        uri: ``http(s)://...``, or an SQLAlchemy address of a database.

    Raises:
        TrackingError: MLflow has no such store, or no longer (a folder of files).
    """
    storage = _storage(root)
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or Target.experiment
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage / 'mlflow.db'}"
    scheme = uri.partition(":")[0].partition("+")[0].lower()
    if "://" in uri and scheme in ("http", "https"):
        return Target(uri.rstrip("/"), None, experiment)
    if "://" not in uri or scheme not in _DATABASES:
        shown = _SECRET.sub(r"\1:***@", uri)
        raise TrackingError(
            f"--tracking-uri: got {shown!r}; expected http://HOST:PORT, sqlite:///FILE.db or another database's address "
            f"(MLflow gave up stores of plain files). Start a server with 'am-ray ui', or leave the option out."
        )
    if scheme == "sqlite":
        prefix, _, path = uri.partition(":///")
        if not path:
            raise TrackingError(f"--tracking-uri: got {uri!r}, which names no file. Write sqlite:///path/to/mlflow.db.")
        storage = absolute(Path(path)).parent
        uri = f"{prefix}:///{storage / Path(path).name}"
    return Target(uri, storage / "mlartifacts", experiment)


def _storage(root: Path) -> Path:
    """The folder of all runs that ``root`` belongs to: trials lie deeper than their study."""
    root = absolute(root)
    folders = find_folders(root)
    return top_folder(folders[0]).parent if folders else root.parent
