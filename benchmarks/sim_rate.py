"""Environment steps per second of CPU time: the Panda on the tray, a 64 px image rendered at every step.

The environment of ``datasets/tray_play.yaml`` (five kinds of objects, a bin) as the dataset names it, with images alone observed.
`sim_rate` counts what `env.step` takes: 20 physics steps of 1/240 s, the image, the success rule and ``info``. Actions are those of
the scripted oracle, so that the hand touches and lifts things, 26 an episode; drawing them is not counted, nor is `env.reset` (world
loaded anew, objects settled, the goal played and rendered): the note gives what each reset costs. It also gives the
rate of `Collector.collect` on the recipe as it stands (states and images), with resets, grasps beforehand, policy and labels: the
recorded transitions that 'am-ray collect' makes per CPU-second and worker.

CPU time of this process, which starts no other: other work on the machine counts only by what it does to caches and clocks.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import gymnasium

from am_ray.collection import episode_seed, writer_settings
from am_ray.envs import ENV_ID, load_recipe, make_collector, make_oracle
from benchmarks.measurement import Measurement, main, median_of

RECIPE = Path(__file__).parent.parent / "datasets" / "tray_play.yaml"
EPISODES, STEPS = 4, 26  # of one piece


def step_and_reset_s(env: gymnasium.Env[Any, Any], first_seed: int) -> tuple[float, float]:
    """CPU seconds of one step and of one reset, over some episodes."""
    oracle, stepping, resetting = make_oracle(env), 0.0, 0.0
    for seed in range(first_seed, first_seed + EPISODES):
        began = time.process_time()
        observation, info = env.reset(seed=seed)
        resetting += time.process_time() - began
        for _ in range(STEPS):
            action = oracle.act(observation, info["goal"])
            began = time.process_time()
            observation, _, _, _, info = env.step(action)
            stepping += time.process_time() - began
    return stepping / (EPISODES * STEPS), resetting / EPISODES


def collected_rate(collector: Any, seed: int, first: int, episodes: int) -> float:
    """Recorded transitions per CPU-second, everything included."""
    began = time.process_time()
    lengths = [len(collector.collect(episode_seed(seed, index)).actions) for index in range(first, first + episodes)]
    return sum(lengths) / (time.process_time() - began)


def measure(quick: bool) -> dict[str, Measurement]:
    pieces = 5 if quick else 11
    file = load_recipe(RECIPE)
    kwargs = {**writer_settings(file.recipe)["env"]["kwargs"], "observation": "image"}
    env = gymnasium.make(ENV_ID, disable_env_checker=True, **kwargs).unwrapped
    step_and_reset_s(env, 0)
    steps, resets = zip(*(step_and_reset_s(env, EPISODES * piece) for piece in range(1, pieces + 1)), strict=True)
    env.close()
    collector = make_collector(file.recipe)
    collected_rate(collector, file.seed, 0, 1)
    collected = statistics.median(collected_rate(collector, file.seed, 4 * piece + 1, 4) for piece in range(pieces))
    collector.close()
    note = (
        f"{1e3 * statistics.median(resets):.0f} ms a reset, not in it; 'am-ray collect' with everything {collected:.0f}"
    )
    return {"sim_rate": median_of([1.0 / seconds for seconds in steps], note)}


if __name__ == "__main__":
    main(measure, __doc__)
