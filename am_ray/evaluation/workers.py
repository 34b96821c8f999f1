"""Spreads episodes over processes. Results depend on the jobs alone, not on the number of workers."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from am_ray.evaluation.runner import EpisodeJob, EpisodeResult, EpisodeRunner, RunnerSetup
from am_ray.evaluation.tasks import TaskSpec
from am_ray.ray_session import ray_session
from am_ray.types import AmRayError, EnvironmentContractError

logger = logging.getLogger(__name__)

PREPARE_TIMEOUT_S = 300.0
MAX_FAILED_STARTS = 3

OnResult = Callable[[EpisodeResult], None]


class Workers(Protocol):
    """Processes that run episodes: this one, or Ray actors."""

    def check(self, tasks: Sequence[TaskSpec], seed: int) -> bool: ...
    def run(self, jobs: Sequence[EpisodeJob], on_result: OnResult) -> list[EpisodeResult]: ...


class InProcess:
    """One worker: this process. A Python exception or hang costs one episode; a crash of the interpreter costs all."""

    def __init__(self, setup: RunnerSetup, *, timeout_s: float) -> None:
        self._runner = EpisodeRunner(setup)
        self._timeout_s = timeout_s

    def check(self, tasks: Sequence[TaskSpec], seed: int) -> bool:
        self._runner.prepare()
        return self._runner.check(tasks, seed)

    def run(self, jobs: Sequence[EpisodeJob], on_result: OnResult) -> list[EpisodeResult]:
        results = []
        for job in jobs:
            results.append(self._runner.run(job, self._timeout_s))
            on_result(results[-1])
        return results

    def close(self) -> None:
        self._runner.close()


@dataclass
class _Task:
    """What an actor is doing: a job, or preparing itself (``None``), until a deadline of the monotonic clock."""

    actor: Any
    job: EpisodeJob | None
    deadline_s: float


class ActorRunner(EpisodeRunner):
    """A runner in a process of its own, which finds the modules that the driver finds: user environments, policies."""

    def __init__(self, driver_path: list[str], pickled_setup: bytes) -> None:
        from ray import cloudpickle

        sys.path += [folder for folder in driver_path if folder not in sys.path]
        super().__init__(cloudpickle.loads(pickled_setup))


class RayWorkers:
    """Ray actors, one process each, so that a crash or a hang costs the one episode that it happened in."""

    def __init__(self, setup: RunnerSetup, *, workers: int, timeout_s: float, cpus: float = 1.0) -> None:
        import ray

        cluster_resources: Any = ray.cluster_resources
        available = int(cluster_resources().get("CPU", 1))
        if workers > available:
            logger.warning("%d workers asked for, the Ray instance has %d CPUs: using these", workers, available)
        self._count = max(1, min(workers, available))
        self._timeout_s = timeout_s
        self._actor_class: Any = ray.remote(num_cpus=cpus)(ActorRunner)
        cloudpickle: Any = ray.cloudpickle
        self._arguments = list(sys.path), cloudpickle.dumps(setup)
        self._idle: list[Any] = []
        self._busy: dict[Any, _Task] = {}
        self._failed_starts = 0

    def check(self, tasks: Sequence[TaskSpec], seed: int) -> bool:
        import ray

        actor = self._actor_class.remote(*self._arguments)
        try:
            ray.get(actor.prepare.remote(), timeout=PREPARE_TIMEOUT_S)
            has_oracle: bool = ray.get(actor.check.remote(list(tasks), seed), timeout=PREPARE_TIMEOUT_S)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            raise EnvironmentContractError(
                f"evaluation workers: the first one died or hung while it built policy and environment "
                f"({type(error).__name__}); expected it to be ready within {PREPARE_TIMEOUT_S:g} s. "
                f"Run with --workers 1 to see the error; free CPUs if a running Ray instance is full."
            ) from error
        self._idle.append(actor)
        return has_oracle

    def run(self, jobs: Sequence[EpisodeJob], on_result: OnResult) -> list[EpisodeResult]:
        waiting = deque(jobs)
        results: dict[tuple[str, str, int], EpisodeResult] = {}
        while len(results) < len(jobs):
            self._dispatch(waiting)
            for result in self._collect():
                results[result.job.key] = result
                on_result(result)
        return [results[job.key] for job in jobs]

    def close(self) -> None:
        import ray

        for actor in [*self._idle, *(task.actor for task in self._busy.values())]:
            ray.kill(actor)
        self._idle, self._busy = [], {}

    def _dispatch(self, waiting: deque[EpisodeJob]) -> None:
        """Gives idle actors a job each, and starts actors while there is work for them."""
        while waiting and self._idle:
            actor, job = self._idle.pop(), waiting.popleft()
            self._busy[actor.run.remote(job)] = _Task(actor, job, time.monotonic() + self._timeout_s)
        preparing = sum(task.job is None for task in self._busy.values())
        for _ in range(min(self._count - len(self._busy), len(waiting) - preparing)):
            actor = self._actor_class.remote(*self._arguments)
            self._busy[actor.prepare.remote()] = _Task(actor, None, time.monotonic() + PREPARE_TIMEOUT_S)

    def _collect(self) -> list[EpisodeResult]:
        """Waits until a call ends or is overdue; returns what became of its job."""
        import ray

        wait_s = max(0.0, min(task.deadline_s for task in self._busy.values()) - time.monotonic())
        done, _ = ray.wait(list(self._busy), num_returns=1, timeout=wait_s)
        now = time.monotonic()
        overdue = [ref for ref, task in self._busy.items() if ref not in done and task.deadline_s <= now]
        results = [self._finish(ref) for ref in done] + [self._abandon(ref, "hang") for ref in overdue]
        return [result for result in results if result is not None]

    def _finish(self, ref: Any) -> EpisodeResult | None:
        import ray

        try:
            result: EpisodeResult | None = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError as error:
            logger.warning("an evaluation worker died: %s", error)
            return self._abandon(ref, f"crash: {type(error).__name__}")
        self._idle.append(self._busy.pop(ref).actor)
        return result

    def _abandon(self, ref: Any, reason: str) -> EpisodeResult | None:
        """Kills the actor; its episode is lost, the next dispatch starts another actor."""
        import ray

        task = self._busy.pop(ref)
        ray.kill(task.actor)
        if task.job is not None:
            return EpisodeResult(task.job, error=f"{reason} of the worker (limit {self._timeout_s:g} s per episode)")
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise RuntimeError(
                f"evaluation workers failed to start {self._failed_starts} times ({reason}). "
                f"Look at Ray's logs; run with --workers 1 to see the error."
            )
        return None


@contextmanager
def open_workers(setup: RunnerSetup, *, workers: int, timeout_s: float, isolated: bool = False) -> Iterator[Workers]:
    """This process for up to one worker, else Ray actors, in the Ray instance at hand or one of their own.

    With ``isolated`` a single worker is an actor too, which asks for no CPU: the caller waits and needs none meanwhile.
    """
    if workers <= 1 and not isolated:
        with _one_torch_thread():
            local = InProcess(setup, timeout_s=timeout_s)
            try:
                yield local
            finally:
                local.close()
        return
    with ray_session(num_cpus=workers):
        actors = RayWorkers(setup, workers=workers, timeout_s=timeout_s, cpus=0.0 if isolated else 1.0)
        try:
            yield actors
        finally:
            actors.close()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _cause(error: Any) -> BaseException:
    """Our own error as it was raised in the actor, without Ray's wrapping."""
    cause = error.cause
    return cause if isinstance(cause, AmRayError) else error
