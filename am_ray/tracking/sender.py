"""The process that sends: ``python -m am_ray.tracking.sender ROOT ...``, started by `sending`, ended by its stdin.

It lives as long as its driver. When stdin closes, or the driver is gone, it sends what is left, for a bounded time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from am_ray.tracking.delivery import BusyError, Delivery
from am_ray.tracking.delivery_state import locked
from am_ray.tracking.mlflow_store import MlflowStore, RunDeletedError
from am_ray.tracking.spool import find_folders, spool_path
from am_ray.tracking.target import Target, resolve_target

logger = logging.getLogger(__name__)

POLL_S = 1.0
MAX_BACKOFF_S = 30.0
# Of the last attempts, while they get on.
MAX_DRAIN_S = 60.0
# A request that is under way then is given up.
_GRACE_S = 1.0


class Sender:
    """Sends all spools below a folder, again and again."""

    def __init__(self, root: Path, target: Target, *, patience_s: float, driver: int) -> None:
        """Args as of `sending`; ``driver`` is the process whose end is the sender's."""
        self._root, self._target, self._patience_s, self._driver = root, target, patience_s, driver
        self._delivery: Delivery | None = None
        self._failures = 0
        self._sizes: dict[Path, int] = {}
        self._ending = threading.Event()
        # Until when the last attempts may go on; the second one, come what may.
        self._deadline_s, self._latest_s = float("inf"), float("inf")

    def run(self) -> None:
        """Until the driver is done with it, or gone."""
        threading.Thread(target=self._watch_driver, daemon=True).start()
        while not self._ending.is_set():
            self._pass()
            self._ending.wait(min(MAX_BACKOFF_S, POLL_S * 2 ** min(self._failures, 8)))
        while not self._pass() and not self._late():
            time.sleep(0.2)
        if os.getppid() != self._driver:
            self._end_orphans()

    def _watch_driver(self) -> None:
        """Notices the driver's end even while a request hangs, and ends this process if it hangs on."""
        while os.getppid() == self._driver:
            readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
            if readable and not os.read(sys.stdin.fileno(), 1):
                break
        now = time.monotonic()
        self._latest_s = now + max(self._patience_s, MAX_DRAIN_S)
        # A database is never dead, but a new one takes its time.
        self._deadline_s = now + self._patience_s if self._target.database is None else self._latest_s
        self._ending.set()
        while time.monotonic() < self._deadline_s + _GRACE_S:
            time.sleep(0.1)
        os._exit(0)

    def _late(self) -> bool:
        return time.monotonic() > self._deadline_s

    def _pass(self) -> bool:
        """One round over all spools; whether nothing is left to send."""
        clean = True
        for folder in find_folders(self._root):
            size = spool_path(folder).stat().st_size
            if self._sizes.get(folder) == size:
                continue
            if self._late():
                return False
            try:
                with store_lock(self._target):
                    self._connected().deliver(folder)
            except BusyError:
                clean = False
            except RunDeletedError as error:
                logger.warning("tracking: %s: %s", folder, error)
                self._sizes[folder] = size
            except Exception as error:
                self._failed(error)
                return False
            else:
                if self._late():
                    return False
                self._sizes[folder] = size
        return clean

    def _connected(self) -> Delivery:
        if self._delivery is None:
            self._delivery = Delivery(MlflowStore(self._target), self._target, self._progress)
        return self._delivery

    def _failed(self, error: Exception) -> None:
        if self._failures == 0:
            reason = " ".join(str(error).split()).replace(self._target.uri, self._target.shown)
            text = "tracking: %s does not take records (%.300s); they are kept, and sent when it does"
            logger.warning(text, self._target.shown, reason)
        self._failures += 1
        self._delivery = None  # what it knows of the server may be what is wrong

    def _progress(self, count: int) -> bool:
        """After ``count`` records were taken; whether there is time for more."""
        if self._failures and count:
            logger.warning("tracking: %s takes records again", self._target.shown)
            self._failures = 0
        late = self._late()
        if self._ending.is_set() and not late:
            self._deadline_s = min(self._latest_s, time.monotonic() + self._patience_s)
        return not late

    def _end_orphans(self) -> None:
        """The driver was killed: its runs do not go on for ever in MLflow's eyes."""
        for folder in find_folders(self._root):
            if self._delivery is None or self._late():
                return
            with contextlib.suppress(Exception), store_lock(self._target):
                self._delivery.end_if_open(folder, "KILLED")


@contextlib.contextmanager
def store_lock(target: Target) -> Iterator[None]:
    """One writer at a time for an SQLite file, whatever root it serves."""
    if target.database is None:
        yield
        return
    with locked(target.database.with_name(f".{target.database.name}.lock"), wait=True):
        yield


def main() -> None:
    """Arguments: root, seconds of patience, process of the driver; MLFLOW_TRACKING_URI: where to."""
    root, patience_s, driver = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    os.nice(10)
    Sender(Path(root), resolve_target(Path(root), None), patience_s=float(patience_s), driver=int(driver)).run()


if __name__ == "__main__":
    main()
