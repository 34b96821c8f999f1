"""Collection: the same data for any number of workers and any number of interruptions."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from am_ray import collection
from am_ray.collection import NUM_DATA_SEEDS, Collected, collect, episode_seed, play_in_order
from am_ray.data.reader import read_dataset
from am_ray.types import DatasetError, SettingsError, Trajectory

RECIPE = """
episodes: 7
seed: 3
arm: gantry
kinds: [box, milk]
container: bin
observation: state
num_objects: [1, 2]
num_actions: [2, 4]
prelude: [0, 1]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(autouse=True)
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several calls per worker even with few episodes."""
    monkeypatch.setattr(collection, "EPISODES_PER_CALL", 2)


class Sleeper:
    """Plays one transition that holds the seed; seeds below ``slow_below`` take long, one kills its process once."""

    def __init__(self, folder: Path, slow_below: int = 0, deadly: int = -1, refused: int = -1) -> None:
        self.folder, self.slow_below, self.deadly, self.refused = folder, slow_below, deadly, refused

    def collect(self, seed: int) -> Trajectory:
        (self.folder / f"began-{seed}").touch()
        if seed == self.refused:
            raise SettingsError("recipe setting kinds: no such thing")
        if seed == self.deadly and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if seed < self.slow_below:
            time.sleep(0.5)
        return Trajectory({"state": np.full((2, 1), seed, np.float32)}, np.zeros((1, 1), np.float32))


@pytest.fixture
def by_value() -> Iterator[None]:
    """Workers cannot import this file, so its classes travel with their code."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def played(player: Sleeper, count: int, workers: int) -> Iterator[int]:
    for trajectory in play_in_order(lambda: player, list(range(count)), workers):
        yield int(trajectory.observations["state"][0, 0])


@pytest.mark.usefixtures("local_ray", "by_value")
def test_episodes_come_in_order_when_the_first_is_the_slowest(tmp_path: Path) -> None:
    assert list(played(Sleeper(tmp_path, slow_below=2), 13, workers=2)) == list(range(13))


@pytest.mark.usefixtures("local_ray", "by_value")
def test_workers_do_not_run_ahead_of_a_slow_consumer(tmp_path: Path) -> None:
    stream = played(Sleeper(tmp_path), 200, workers=1)
    assert next(stream) == 0
    time.sleep(1.0)
    begun = len(list(tmp_path.glob("began-*")))
    # Two episodes per call; the call that is being consumed, and those that may wait.
    assert begun <= 2 * (1 + collection.CALLS_PER_WORKER)
    assert list(stream) == list(range(1, 200))


@pytest.mark.usefixtures("local_ray", "by_value")
def test_a_worker_that_dies_is_started_again_and_loses_nothing(tmp_path: Path) -> None:
    assert list(played(Sleeper(tmp_path, deadly=3), 9, workers=2)) == list(range(9))
    assert (tmp_path / "died").exists()


@pytest.mark.usefixtures("local_ray", "by_value")
def test_errors_of_ours_arrive_as_they_were_raised(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        list(played(Sleeper(tmp_path, refused=4), 9, workers=2))
    assert str(error.value) == "recipe setting kinds: no such thing"


@pytest.mark.usefixtures("local_ray", "by_value")
def test_workers_are_gone_while_an_error_of_theirs_is_still_looked_at(tmp_path: Path) -> None:
    import ray

    every_one = ray.cluster_resources()["CPU"]
    gc.disable()  # what it would free some time later
    try:
        with pytest.raises(SettingsError) as error:
            list(played(Sleeper(tmp_path, refused=4), 9, workers=2))
        deadline = time.monotonic() + 30.0
        while ray.available_resources().get("CPU", 0.0) < every_one and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ray.available_resources().get("CPU", 0.0) == every_one
        assert error.tb is not None
    finally:
        gc.enable()


@pytest.mark.usefixtures("local_ray")
def test_data_do_not_depend_on_workers_nor_on_interruptions(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = collect(recipe, tmp_path / "one", workers=1)
    two = collect(recipe, tmp_path / "two", workers=2)
    assert (one.episodes, one.resumed_from) == (7, 0)
    assert (two.digest, two.transitions) == (one.digest, one.transitions)

    order = collection.play_in_order

    def interrupted(*arguments: object) -> Iterator[Trajectory]:
        for number, trajectory in enumerate(order(*arguments)):  # type: ignore[arg-type]
            if number == 3:
                raise KeyboardInterrupt
            yield trajectory

    monkeypatch.setattr(collection, "play_in_order", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect(recipe, tmp_path / "cut", workers=2)
    monkeypatch.undo()
    with pytest.raises(DatasetError):
        read_dataset(tmp_path / "cut")
    with pytest.raises(DatasetError, match="begun with"):
        collect(recipe, tmp_path / "cut", workers=1, seed=4)
    with pytest.raises(DatasetError, match="holds 3 episodes; expected at most 2"):
        collect(recipe, tmp_path / "cut", workers=1, episodes=2)
    cut = collect(recipe, tmp_path / "cut", workers=1)
    assert cut == Collected(str(tmp_path / "cut"), one.digest, 7, one.transitions, resumed_from=3)


@pytest.mark.usefixtures("local_ray")
def test_another_seed_gives_other_data_and_never_touches_a_complete_dataset(recipe: Path, tmp_path: Path) -> None:
    first = collect(recipe, tmp_path / "a", workers=2, episodes=2)
    again = collect(recipe, tmp_path / "a", workers=1, episodes=2)
    other = collect(recipe, tmp_path / "b", workers=2, episodes=2, seed=4)

    assert again.digest == first.digest != other.digest
    for arguments in ({"episodes": 3}, {"episodes": 2, "seed": 4}):
        with pytest.raises(DatasetError, match="holds another complete dataset"):
            collect(recipe, tmp_path / "a", workers=1, **arguments)
    assert read_dataset(tmp_path / "a").digest == first.digest


@pytest.mark.usefixtures("local_ray")
def test_the_dataset_names_an_environment_of_its_own_shapes(recipe: Path, tmp_path: Path) -> None:
    import gymnasium

    collect(recipe, tmp_path / "a", workers=1, episodes=2)
    dataset = read_dataset(tmp_path / "a")

    assert dataset.info.env is not None
    env = gymnasium.make(dataset.info.env["id"], **dataset.info.env["kwargs"])
    observation, _ = env.reset(seed=0)
    env.close()
    assert observation["observation"].shape == dataset.spec.observation_shapes["state"]
    assert env.action_space.shape == (dataset.spec.action_dim,)
    assert (dataset.spec.action_low, dataset.spec.action_high) == ((-1.0,) * 5, (1.0,) * 5)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"episodes": 0}, "episodes: got 0"), ({"workers": 0}, "workers: got 0"), ({"seed": -1}, "seed: got -1")],
)
def test_numbers_out_of_range_are_refused(
    recipe: Path, tmp_path: Path, arguments: dict[str, int], expected: str
) -> None:
    with pytest.raises(SettingsError, match=expected):
        collect(recipe, tmp_path / "a", **arguments)
    assert not (tmp_path / "a").exists()


def test_seeds_of_a_dataset_are_distinct_and_below_those_of_evaluation() -> None:
    seeds = [episode_seed(7, index) for index in range(5000)]
    assert max(Counter(seeds).values()) == 1
    assert all(0 <= seed < NUM_DATA_SEEDS for seed in seeds)
    # Neighbouring base seeds must not give shifted copies of one another's episodes.
    assert not set(seeds) & {episode_seed(8, index) for index in range(5000)}


@pytest.mark.slow
def test_a_collection_stopped_at_any_point_goes_on_to_the_same_data(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("episodes: 7", "episodes: 600"))

    def command(out: str, workers: int) -> list[str]:
        parts = ["collect", str(recipe), "--out", str(tmp_path / out), "--workers", str(workers), "--json"]
        return [sys.executable, "-m", "am_ray.cli.main", *parts]

    whole = json.loads(subprocess.run(command("whole", 2), check=True, stdout=subprocess.PIPE).stdout)
    stops = []
    for number, delay_s in ((signal.SIGKILL, 0.0), (signal.SIGTERM, 0.2), (signal.SIGINT, 0.1)):
        process = subprocess.Popen(command("cut", 2), stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 60
        before = _journal_bytes(tmp_path / "cut")
        while process.poll() is None and _journal_bytes(tmp_path / "cut") <= before and time.monotonic() < deadline_s:
            time.sleep(0.02)
        time.sleep(delay_s)
        process.send_signal(number)
        stops.append(process.wait(timeout=60))
    resumed = json.loads(subprocess.run(command("cut", 1), check=True, stdout=subprocess.PIPE).stdout)

    assert stops == [-signal.SIGKILL, 143, 130]
    assert resumed["digest"] == whole["digest"]
    assert resumed["resumed_from"] > 0


def _journal_bytes(folder: Path) -> int:
    path = folder / "pending" / "journal.arrows"
    return path.stat().st_size if path.exists() else 0
