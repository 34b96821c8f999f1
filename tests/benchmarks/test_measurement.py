"""Medians and ratios of repeated measurements."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.measurement import Measurement, main, median_of, paired_ratio


def test_median_of_has_the_spread() -> None:
    assert median_of([5.0, 1.0, 2.0], "note") == Measurement(2.0, 1.0, 5.0, 3, "note")
    assert median_of([4.0, 1.0]).value == 2.5


def returning(rates: list[float], log: list[str], name: str) -> Callable[[], float]:
    left = iter(rates)

    def run() -> float:
        log.append(name)
        return next(left)

    return run


def test_paired_ratio_by_hand() -> None:
    # The first rates are the warm-ups. Pairs: 10 / 5, 30 / 10, 8 / 8, so ratios 2, 3, 1.
    ratio = paired_ratio(
        returning([1e9, 10.0, 30.0, 8.0], [], "ours"), returning([1.0, 5.0, 10.0, 8.0], [], "theirs"), pairs=3
    )
    assert (ratio.value, ratio.low, ratio.high, ratio.repeats) == (2.0, 1.0, 3.0, 3)
    assert ratio.note == "10.0/s over 8.0/s"  # each side's own median


def test_paired_ratio_alternates_who_goes_first() -> None:
    log: list[str] = []
    paired_ratio(returning([1.0] * 5, log, "a"), returning([1.0] * 5, log, "b"), pairs=4)
    assert "".join(log) == "ab" + "ab" + "ba" + "ab" + "ba"


def test_neighbours_share_a_drift_that_the_ratio_does_not_see() -> None:
    """A machine that gets three times slower: the ratio of 2 stays, where medians of runs one after the other would lie."""
    pace = iter([1.0] * 2 + [1.0, 1.0, 0.5, 0.5, 0.33, 0.33])
    ratio = paired_ratio(lambda: 20.0 * next(pace), lambda: 10.0 * next(pace), pairs=3)
    assert (ratio.low, ratio.high) == pytest.approx((2.0, 2.0))


def test_command_line_writes_what_make_bench_collects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["benchmark", "--quick", "--out", str(out)])
    main(lambda quick: {"key": median_of([1.0, 3.0], "quick" if quick else "full")}, None)
    assert json.loads(out.read_text()) == {
        "key": {"value": 2.0, "low": 1.0, "high": 3.0, "repeats": 2, "note": "quick"}
    }
    assert capsys.readouterr().out == "key 2 [1, 3] of 2; quick\n"
