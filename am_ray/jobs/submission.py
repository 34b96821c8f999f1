"""Submitting the same job twice: one runs at a time, and a later one goes on where the earlier ended.

Ray runs a job once and never takes a submission id again. So the id says what the job is (command, run name, storage),
with a counter for the times that it was submitted; the command itself resumes its run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from am_ray.jobs.access import JobsError
from am_ray.jobs.client import AlreadySubmittedError, Job, JobsClient
from am_ray.jobs.plan import SETTINGS_KEY, JobPlan


@dataclass(frozen=True)
class Submission:
    """A job that runs now.

    Attributes:
        id: Its submission id.
        attached: It ran before; nothing was submitted.
    """

    id: str
    attached: bool


def submit(client: JobsClient, plan: JobPlan, *, attach: bool) -> Submission:
    """Submits the job, unless it runs already.

    Args:
        client: Of the cluster.
        plan: What to submit.
        attach: Whether a job of the same id and settings that has not ended is good enough.

    Raises:
        JobsError: The job runs already, and ``attach`` is false or its settings are others.
    """
    for _ in range(3):
        next_id, running = next_submission(plan.base_id, client.jobs())
        if running is not None:
            return _attached(running, plan, attach)
        try:
            return Submission(client.submit(plan, next_id), attached=False)
        except AlreadySubmittedError:
            # Somebody submitted the same between our look and our submission.
            continue
    raise JobsError(f"{plan.base_id}: the cluster takes no new id for this job. `am-ray jobs list` shows what runs.")


def next_submission(base_id: str, jobs: Sequence[Job]) -> tuple[str, Job | None]:
    """The id that a new submission takes, and the job of this name that has not ended, if any."""
    pattern = re.compile(re.escape(base_id) + r"(?:-(\d+))?")
    numbered = {int(match[1] or 1): job for job in jobs if (match := pattern.fullmatch(job.id))}
    running = [job for _, job in sorted(numbered.items()) if not job.ended]
    count = max(numbered, default=0) + 1
    return base_id if count == 1 else f"{base_id}-{count}", running[-1] if running else None


def _attached(job: Job, plan: JobPlan, attach: bool) -> Submission:
    if job.metadata.get(SETTINGS_KEY) != plan.metadata[SETTINGS_KEY]:
        raise JobsError(
            f"{job.id}: is {job.status} with other settings under the same run name. Use another --run-name, or stop it "
            f"first: `am-ray jobs stop {job.id}`."
        )
    if not attach:
        raise JobsError(
            f"{job.id}: is {job.status} already. Add --follow to see its log, or stop it first: `am-ray jobs stop {job.id}`."
        )
    return Submission(job.id, attached=True)
