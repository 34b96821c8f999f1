"""CPU time that RLlib adds to an update: the same network on the same batches, with and without the Learner.

    python benchmarks/learner_overhead.py DATASET [--updates 300] [--width 8]

CPU time of this process, not wall time: other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from am_ray.algorithm.algorithm import ActionableModels
from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.algorithm.learner import to_device, update_seed
from am_ray.core.updates import step_if_finite
from am_ray.models.policy import build_model
from am_ray.types import TransitionBatch


def bare_ms(config: ActionableModelsConfig, batches: Any, updates: int) -> float:
    facts: Any = config.get_default_rl_module_spec().model_config
    model = build_model(facts["spec"], facts["statistics"], facts["settings"])
    parameters = model.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, fused=True)
    generator = torch.Generator()
    started = time.process_time()
    for update in range(updates):
        batch = TransitionBatch.from_columns(to_device(next(batches), torch.device("cpu")))
        optimizer.zero_grad(set_to_none=True)
        model.loss(batch, generator=generator.manual_seed(update_seed(0, 0, update))).loss.backward()
        step_if_finite(optimizer, parameters, max_gradient_norm=10.0)
        model.update_averages()
    return 1e3 * (time.process_time() - started) / updates


def rllib_ms(algorithm: ActionableModels) -> float:
    started = time.process_time()
    algorithm.train()
    return 1e3 * (time.process_time() - started) / algorithm.config.updates_per_iteration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sizes = {"width": args.width, "head_width": args.width, "batch_size": args.batch_size}
    config = ActionableModelsConfig().training(updates_per_iteration=args.updates, **sizes).dataset(args.dataset)
    algorithm = config.build_algo()
    algorithm.train()
    batches = algorithm.offline_data.open()[0].batches(0)
    bare_ms(config, batches, args.updates)
    rounds = [(bare_ms(config, batches, args.updates), rllib_ms(algorithm)) for _ in range(args.rounds)]
    # Other work on the machine only ever adds: the smallest of each is the cost.
    bare, rllib = (min(column) for column in zip(*rounds, strict=True))
    print(f"bare {bare:.3f} ms, RLlib {rllib:.3f} ms, overhead {rllib - bare:+.3f} ms, ratio {rllib / bare:.3f}")
    algorithm.stop()


if __name__ == "__main__":
    main()
