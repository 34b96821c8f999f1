"""Actionable Models on RLlib's new API stack; the only importer of ray.rllib."""
