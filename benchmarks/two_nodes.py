"""The same work on one Ray node and on two: readers away from the learner, and learners away from each other.

    python -m benchmarks.two_nodes [--quick] [--out two_nodes.json]

Nodes are raylets on this machine (`ray.cluster_utils.Cluster`), each with an object store of its own; where there are two, the
head has no CPUs, so that work can only be where it is meant to be, which is checked. Each case runs in a process of its own:

    ingest    64 px images from the decoded cache into a counter; readers on the driver's node, or on another
    training  states streamed to a learner in the driver; readers likewise
    learners  two remote learners with resident states; both on one node, or one on each of two

What it shows: that the work is done across nodes, and what Ray's transfer between object stores and gloo between processes cost
in CPU time and copies. What it cannot show: a network. Both nodes have the same cores and memory, and bytes go over loopback.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.worlds import DATA, image_data, state_data

STORE_BYTES = 400 << 20
BATCH = 256
TIMEOUT_S = 300.0


def ingest(pieces: int) -> list[float]:
    """Transitions/s of each piece of three seconds."""
    from am_ray.data.ingest import open_ingest
    from am_ray.data.pipeline_threads import join_pipeline_threads
    from am_ray.settings import IngestSettings, RelabelSettings

    settings = IngestSettings(mode="streaming", window_rows=4000, decoded_cache=str(DATA / "cache"))
    (source,) = open_ingest(image_data(), None, RelabelSettings(), settings, batch_size=BATCH, seed=0)
    batches: Any = source.batches()
    for _ in range(100):  # start-up, and the first pass, which fills the cache
        next(batches)
    rates = []
    for _ in range(pieces):
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < 3.0:
            count += len(next(batches)["action"])
        rates.append(count / (time.perf_counter() - began))
    held = _store_bytes_of_nodes()
    batches.close()
    join_pipeline_threads()
    _check(len(held) == 1 or max(held[1:]) > 1e6, f"no blocks on the readers' node: {held} bytes")
    return rates


def training(pieces: int) -> list[float]:
    """Updates/s of each iteration, readers streaming to a learner in this process."""
    return _updates_per_s("streaming", num_learners=0, updates=100, pieces=pieces)


def learners(pieces: int) -> list[float]:
    """Updates/s of each iteration, two remote learners."""
    return _updates_per_s("resident", num_learners=2, updates=50, pieces=pieces)


def _updates_per_s(mode: Any, *, num_learners: int, updates: int, pieces: int) -> list[float]:
    import ray

    from am_ray.algorithm.config import ActionableModelsConfig
    from am_ray.settings import IngestSettings

    config = ActionableModelsConfig().training(batch_size=BATCH, updates_per_iteration=updates)
    config = config.dataset(str(state_data()), IngestSettings(mode=mode)).learners(num_learners=num_learners)
    algorithm: Any = config.build_algo()
    if num_learners:
        # A lambda, as a function of this module would be looked up in the actor's own main module.
        found = algorithm.learner_group.foreach_learner(lambda _: ray.get_runtime_context().get_node_id())
        places = {result.get() for result in found}
        _check(len(places) == _num_nodes_with_cpus(), f"learners on {places}")
    algorithm.train()
    rates = []
    for _ in range(pieces):
        began = time.perf_counter()
        algorithm.train()
        rates.append(updates / (time.perf_counter() - began))
    algorithm.stop()
    return rates


def _num_nodes_with_cpus() -> int:
    import ray

    return sum(node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def _store_bytes_of_nodes() -> list[float]:
    """Bytes in use in the object store of each node, the driver's first."""
    import ray
    from ray._private.state import available_resources_per_node

    here, free = ray.get_runtime_context().get_node_id(), available_resources_per_node()
    used = {node: STORE_BYTES - found.get("object_store_memory", 0.0) for node, found in free.items()}
    return [used.pop(here), *used.values()]


def _check(fact: bool, otherwise: str) -> None:
    if not fact:
        raise RuntimeError(f"not the placement that was meant: {otherwise}")


# Work; CPUs of the head, then of each further node; unit of the rates.
Case = tuple[Callable[[int], list[float]], tuple[int, ...], str]
CASES: dict[str, Case] = {
    "ingest, one node": (ingest, (1,), "transitions/s"),
    "ingest, readers on another node": (ingest, (0, 1), "transitions/s"),
    "training, one node": (training, (1,), "updates/s"),
    "training, readers on another node": (training, (0, 1), "updates/s"),
    "learners, one node": (learners, (2,), "updates/s"),
    "learners, one on each of two nodes": (learners, (0, 1, 1), "updates/s"),
}


def run_case(name: str, pieces: int, results: Any) -> None:
    """In a process of its own: the cluster, the work, the end of the cluster."""
    import ray
    from ray.cluster_utils import Cluster

    work, (head, *others), _ = CASES[name]
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": head, "object_store_memory": STORE_BYTES},
        shutdown_at_exit=True,
    )
    ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
    for logger in ("ray.rllib", "ray._common.deprecation"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    for cpus in others:
        cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    try:
        results.send(work(pieces))
    finally:
        ray.shutdown()
        cluster.shutdown()


def rates_of(name: str, pieces: int) -> list[float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_case, args=(name, pieces, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(TIMEOUT_S):
            raise TimeoutError(f"{name}: no figure after {TIMEOUT_S:.0f} s")
        found: list[float] = ours.recv()
        return found
    finally:
        process.join(30.0)
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the figures")
    args = parser.parse_args()
    figures = {}
    for name, (_, _, unit) in CASES.items():
        rates = rates_of(name, 3 if args.quick else 7)
        figures[name] = {"median": statistics.median(rates), "low": min(rates), "high": max(rates), "unit": unit}
        print("{:38}{median:12,.1f} [{low:,.1f}, {high:,.1f}] {unit}".format(name, **figures[name]), flush=True)
    names = list(CASES)
    for one, two in zip(names[::2], names[1::2], strict=True):
        print(f"{two} over {one}: {figures[two]['median'] / figures[one]['median']:.2f}")
    if args.out is not None:
        args.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
