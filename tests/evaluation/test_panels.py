"""Pictures of `point_world`: the goal is green, the point is blue, the rest is white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from policies import MakeTowards, Still

from am_ray.evaluation import evaluate, write_figure, write_gif
from am_ray.evaluation.panels import choose_animations, choose_episodes
from am_ray.evaluation.runner import EpisodeJob, EpisodeResult
from am_ray.evaluation.tasks import TaskSpec

ID = "point_world:PointWorld-v0"
BLUE = (0, 0, 200)


def place_of_the_point(frame: np.ndarray) -> np.ndarray:
    return np.argwhere((frame == BLUE).all(axis=-1)).mean(axis=0)


def result(task: str, index: int, success: bool, error: str | None = None) -> EpisodeResult:
    return EpisodeResult(EpisodeJob("ours", TaskSpec(task), index, index), success, success, error)


def indices(results: list[EpisodeResult]) -> list[tuple[str, int]]:
    return [(r.job.task.name, r.job.index) for r in results]


def test_successes_and_failures_are_shown_alike() -> None:
    mixed = [result("a", i, success=i % 3 == 0) for i in range(12)]
    assert indices(choose_episodes(mixed, 4)) == [("a", 0), ("a", 3), ("a", 1), ("a", 2)]


def test_one_kind_fills_up_for_the_other() -> None:
    few = [result("a", 0, True), *(result("a", i, False) for i in range(1, 9))]
    assert indices(choose_episodes(few, 4)) == [("a", 0), ("a", 1), ("a", 2), ("a", 3)]
    assert indices(choose_episodes([result("a", i, True) for i in range(9)], 2)) == [("a", 0), ("a", 1)]
    lost = [result("b", 0, False, "crash"), result("b", 1, False)]
    assert indices(choose_episodes(lost, 4)) == [("b", 1)]


def test_animations_prefer_successes_and_take_tasks_by_turns() -> None:
    shown = [result("a", 0, True), result("a", 1, True), result("b", 2, True), result("b", 3, False)]
    assert indices(choose_animations(shown, 3)) == [("a", 0), ("b", 2), ("a", 1)]
    assert choose_animations(shown, 0) == []


def test_pictures_show_the_episode_that_was_counted(tmp_path: Path) -> None:
    report = evaluate(
        MakeTowards(0.9), env_id=ID, episodes=12, panels_dir=tmp_path, panels_per_task=4, animations=1, baselines=False
    )
    counted = {r.job.index: r.success for r in report.results}
    assert [r.success for r in report.recordings] == [True, True, False, False]
    names = {f"default_{r.job.index:04d}_{'success' if counted[r.job.index] else 'failure'}" for r in report.recordings}
    assert {path.stem for path in tmp_path.glob("*.png")} == names
    filmed = report.recordings[0]
    assert [path.stem for path in tmp_path.glob("*.gif")] == [f"default_{filmed.job.index:04d}_success"]
    for shown in report.recordings:
        recording = shown.recording
        assert recording is not None
        assert recording.goal_frame is not None
        # the goal's picture is where the oracle ends: on the goal, away from the start
        start, goal = place_of_the_point(recording.frames[0]), place_of_the_point(recording.goal_frame)
        assert np.linalg.norm(goal - start) == pytest.approx(8.0, abs=2.0)  # 1.0 at 8 pixels each
        assert len(recording.values) == 20
        assert recording.values[0] == pytest.approx(np.exp(-1.0))
    assert filmed.recording is not None
    assert [len(r.recording.frames) for r in report.recordings if r.recording] == [21, 2, 2, 2]
    with Image.open(next(tmp_path.glob("*.gif"))) as gif:
        assert getattr(gif, "n_frames", 0) > 10  # equal frames in a row are merged


def test_without_an_oracle_the_goal_is_its_own_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import point_world

    monkeypatch.delattr(point_world.PointWorld, "oracle")
    report = evaluate(Still, env_id=ID, episodes=2, panels_dir=tmp_path, panels_per_task=1)
    assert report.oracle is None
    assert [r.recording.goal_frame for r in report.recordings if r.recording] == [None]
    monkeypatch.setattr(point_world.PointWorld, "render_goal", lambda self: np.full((4, 4, 3), 7), raising=False)
    report = evaluate(Still, env_id=ID, episodes=2, panels_dir=tmp_path, panels_per_task=1)
    (shown,) = report.recordings
    assert shown.recording is not None
    assert shown.recording.goal_frame is not None
    assert shown.recording.goal_frame.tolist() == np.full((4, 4, 3), 7).tolist()
    assert np.isnan(shown.recording.values).all()  # drawn as "no Q"


def test_a_figure_has_a_row_per_episode(tmp_path: Path) -> None:
    report = evaluate(MakeTowards(0.9), env_id=ID, episodes=6, panels_dir=tmp_path / "panels", panels_per_task=2)
    write_figure(report.recordings[:1], tmp_path / "one.png")
    write_figure(report.recordings, tmp_path / "two.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.height == 2 * one.height
        blue = (np.asarray(two.convert("RGB")) == BLUE).all(axis=-1)
    rows = blue.any(axis=1)
    assert rows[: len(rows) // 2].any()
    assert rows[len(rows) // 2 :].any()
    with pytest.raises(ValueError, match="no recording"):
        write_figure(report.results[:1], tmp_path / "none.png")


def test_gif_frames_follow_the_array(tmp_path: Path) -> None:
    levels = np.array([0, 100, 200], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (3, 100, 50, 3))
    write_gif(frames, tmp_path / "steps.gif", frames_per_second=4, max_size_px=20)
    with Image.open(tmp_path / "steps.gif") as gif:
        assert gif.size == (10, 20)
        seen = []
        for index in range(3):
            gif.seek(index)
            assert gif.info["duration"] == 250
            seen.append(gif.convert("RGB").getpixel((5, 5)))
    assert seen == [(level,) * 3 for level in (0, 100, 200)]
