"""The comparison of a fine-tuning study's arms: statistics, refusals, figures, and the report."""

from __future__ import annotations

from am_ray.comparison.analysis import Comparison, compare
from am_ray.comparison.study import ComparisonError, Study, read_study

__all__ = ["Comparison", "ComparisonError", "Study", "compare", "read_study"]
