"""am-ray's commands as Ray Jobs: planned and checked here, run on a cluster, resumed by the same call."""

from am_ray.jobs.access import Access, JobsError, resolve_access
from am_ray.jobs.client import AlreadySubmittedError, Job, JobsClient
from am_ray.jobs.plan import JobPlan, check_arrives, plan_job
from am_ray.jobs.submission import Submission, next_submission, submit

__all__ = [
    "Access",
    "AlreadySubmittedError",
    "Job",
    "JobPlan",
    "JobsClient",
    "JobsError",
    "Submission",
    "check_arrives",
    "next_submission",
    "plan_job",
    "resolve_access",
    "submit",
]
