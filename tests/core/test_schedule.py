"""The learning rate's way down."""

from __future__ import annotations

import pytest

from am_ray.core.schedule import decayed_rate


@pytest.mark.parametrize(
    ("update", "share", "expected"),
    [(0, 0.5, 2.0), (50, 0.5, 2.0), (75, 0.5, 1.0), (100, 0.5, 0.0), (120, 0.5, 0.0), (99, 0.0, 2.0), (50, 1.0, 1.0)],
)
def test_constant_then_half_a_cosine(update: int, share: float, expected: float) -> None:
    assert decayed_rate(2.0, update=update, updates=100, decay_share=share) == pytest.approx(expected)


def test_without_an_end_the_rate_stays() -> None:
    assert decayed_rate(2.0, update=10_000, updates=None, decay_share=0.5) == 2.0
