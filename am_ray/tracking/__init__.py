"""Tracking with MLflow that training cannot feel: runs append to files, one other process sends those files.

A run, trial or study writes a *spool* into its folder (`RunTracker`); a *sender* beside the driver (`sending`) is the only
process that talks to MLflow. A server that is dead, slow or broken costs training nothing, and loses nothing:
``am-ray track sync`` sends what is left.

<folder>/tracking/
    spool.jsonl           one record a line, appended, never changed
    sent-<target>.json    how far one MLflow has it
    lock                  held by the sender that is at it
"""

from __future__ import annotations

from am_ray.tracking.background import sending
from am_ray.tracking.run_tracker import RunTracker
from am_ray.tracking.target import TrackingError

__all__ = ["RunTracker", "TrackingError", "sending"]
