"""The paper: relabeling, targets, negatives, losses, CEM. Pure NumPy and torch; no Ray, files, clocks or global randomness."""
