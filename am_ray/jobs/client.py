"""Ray's job API, with errors that say what to do. Imports Ray when it connects."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from am_ray.jobs.access import TOKEN_REMEDY, Access, JobsError
from am_ray.jobs.plan import JobPlan

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

logger = logging.getLogger(__name__)

_ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
# Broken connections in a row while logs are followed, and the pause between two tries.
_TRIES, _PAUSE_S = 10, 3.0


@dataclass(frozen=True)
class Job:
    """A submitted job as Ray knows it.

    Attributes:
        id: Submission id.
        status: ``PENDING``, ``RUNNING``, ``STOPPED``, ``SUCCEEDED`` or ``FAILED``.
        message: Ray's sentence about it.
        entrypoint: What it runs.
        metadata: What was kept with it.
        started_ms: Unix time in milliseconds, or None.
        ended_ms: Likewise.
    """

    id: str
    status: str
    message: str
    entrypoint: str
    metadata: dict[str, str]
    started_ms: int | None
    ended_ms: int | None

    @property
    def ended(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")

    @property
    def succeeded(self) -> bool:
        return self.status == "SUCCEEDED"


class AlreadySubmittedError(JobsError):
    """The submission id is taken: another submission was quicker."""


class JobsClient:
    """Submits, lists, follows and stops the jobs of one cluster.

    Raises:
        JobsError: Nothing answers at the address, or it refuses the token.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        if access.unencrypted:
            logger.warning(
                "%s: the token travels unencrypted; prefer https or a tunnel to the head node", access.address
            )
        _check_reachable(access.address)
        with self._errors():
            self._client = self._connect()

    def _connect(self) -> JobSubmissionClient:
        from ray.job_submission import JobSubmissionClient

        # It would say that a log has ended in the middle of what follows.
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        # Ray's client prefers this variable to its argument, and what was checked must be what is used.
        before = os.environ.get(_ADDRESS_VARIABLE)
        os.environ[_ADDRESS_VARIABLE] = self.access.address
        try:
            return JobSubmissionClient(self.access.address, headers=self.access.headers)
        finally:
            if before is None:
                del os.environ[_ADDRESS_VARIABLE]
            else:
                os.environ[_ADDRESS_VARIABLE] = before

    def submit(self, plan: JobPlan, submission_id: str) -> str:
        """Uploads the working directory if the cluster lacks it, and starts the job; returns its id.

        Raises:
            AlreadySubmittedError: The id was used before.
            JobsError: The cluster refused it.
        """
        with self._errors():
            return self._client.submit_job(
                entrypoint=plan.entrypoint,
                submission_id=submission_id,
                runtime_env=plan.runtime_env,
                metadata=dict(plan.metadata),
                entrypoint_num_cpus=plan.num_cpus or None,
                entrypoint_num_gpus=plan.num_gpus or None,
            )

    def jobs(self) -> list[Job]:
        """Every job that was submitted to this cluster, the oldest first."""
        with self._errors():
            details = self._client.list_jobs()
        found = [_job(entry) for entry in details if entry.submission_id]
        return sorted(found, key=lambda job: (job.started_ms or 0, job.id))

    def job(self, submission_id: str) -> Job:
        """Raises JobsError where there is none of this id."""
        with self._errors():
            return _job(self._client.get_job_info(submission_id))

    def logs(self, submission_id: str) -> str:
        with self._errors():
            return self._client.get_job_logs(submission_id)

    def follow(self, submission_id: str, write: Callable[[str], Any]) -> Job:
        """Passes the job's log to ``write`` until it has ended; a broken connection is taken up again where it broke.

        Raises:
            JobsError: There is no such job, or the connection could not be taken up again. The job itself goes on.
        """
        import aiohttp

        self.job(submission_id)  # a wrong id is no broken connection
        seen = tries = 0

        async def tail() -> None:
            nonlocal seen, tries
            position = 0
            async for text in self._client.tail_job_logs(submission_id):
                fresh = text[max(seen - position, 0) :]
                position += len(text)
                if fresh:
                    write(fresh)
                    seen, tries = position, 0

        while True:
            try:
                asyncio.run(tail())
                job = self.job(submission_id)
                if job.ended:
                    write(self.logs(submission_id)[seen:])
                    return job
            except (aiohttp.ClientError, RuntimeError, OSError, JobsError) as error:
                tries += 1
                if tries >= _TRIES:
                    raise JobsError(
                        f"{submission_id}: lost the connection to {self.access.address} ({error}). The job does not need "
                        f"it; see `am-ray jobs logs --follow {submission_id}`."
                    ) from error
                time.sleep(_PAUSE_S)
            else:
                time.sleep(0.5)

    def stop(self, submission_id: str, *, wait_s: float) -> Job:
        """Asks the job to end (SIGTERM, so that it saves a checkpoint) and waits for that at most ``wait_s``."""
        with self._errors():
            self._client.stop_job(submission_id)
        ends = time.monotonic() + wait_s
        while not (job := self.job(submission_id)).ended and time.monotonic() < ends:
            time.sleep(0.5)
        return job

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from ray.exceptions import AuthenticationError

        address = self.access.address
        try:
            yield
        except AuthenticationError as error:
            what = (
                "no token was sent" if self.access.token is None else f"the one of {self.access.token_source} is wrong"
            )
            raise JobsError(f"{address}: the cluster wants its token, {what}. {TOKEN_REMEDY}.") from error
        except (ConnectionError, OSError) as error:
            raise JobsError(f"{address}: the connection failed ({_short(error)}). Is the head node up?") from error
        except RuntimeError as error:
            if "already" in str(error):
                raise AlreadySubmittedError(f"{address}: {_short(error)}") from error
            if "does not exist" in str(error):
                raise JobsError(f"{address}: no such job ({_short(error)}). `am-ray jobs list` names them.") from error
            raise JobsError(f"{address}: the cluster refused: {_short(error)}") from error


def _check_reachable(address: str) -> None:
    """Ray's client has no timeout of its own."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=10.0).close()
    except OSError as error:
        raise JobsError(
            f"{address}: nothing answers ({error}); expected a Ray dashboard. Start one (`ray start --head`), open a tunnel "
            f"(`kubectl port-forward`, `ray dashboard`), or give its --address."
        ) from error


def _job(details: JobDetails) -> Job:
    return Job(
        id=str(details.submission_id),
        status=str(details.status.value),
        message=details.message or "",
        entrypoint=details.entrypoint,
        metadata=details.metadata or {},
        started_ms=details.start_time,
        ended_ms=details.end_time,
    )


def _short(error: BaseException) -> str:
    """The last line that says something: Ray sends the server's traceback along."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1][:500] if lines else type(error).__name__
