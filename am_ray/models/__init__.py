"""Networks: Q(s, a, g) in [0, 1], its baselines, policies that act, checkpoints. Torch only; runs without Ray."""
