import io

from rich.console import Console

from am_ray.evaluation.report import EvaluationReport, TaskResult, results_table
from am_ray.evaluation.runner import EpisodeJob, EpisodeResult
from am_ray.evaluation.tasks import TaskSpec


def episode(success: bool, any_step: bool, error: str | None = None) -> EpisodeResult:
    return EpisodeResult(EpisodeJob("ours", TaskSpec("t"), 0, 0), success, any_step, error)


def plain(table: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_lost_episodes_are_not_counted_as_failures_of_the_policy() -> None:
    results = [episode(True, True)] * 3 + [episode(False, True)] + [episode(False, False, "crash")] * 2
    assert TaskResult.of(results) == TaskResult(4, 3, 4, infrastructure_failures=2, outcomes="1110--")


def test_no_episode_counts() -> None:
    nothing = TaskResult.of([episode(False, False, "crash")])
    assert nothing.to_json() == {
        "success_rate": None,
        "n": 0,
        "interval": [0.0, 1.0],
        "success_any_step": None,
        "infrastructure_failures": 1,
        "outcomes": "-",
    }
    assert "no episode counts, 1 failed" in plain(results_table({"ours": {"t": nothing}}))


def test_the_table_says_rates_and_intervals() -> None:
    good, bad = TaskResult(64, 40, 48, 0), TaskResult(63, 0, 0, 1)
    report = EvaluationReport(
        tasks={"instance_grasping": good},
        random={"instance_grasping": bad},
        oracle=None,
        seed=0,
        checkpoint="c",
        env_id="e",
        env_kwargs={},
        episodes=64,
        max_steps=None,
    )
    text = plain(report.table())
    assert "instance grasping" in text
    assert "62 [50, 73] (75)" in text  # 40 of 64, Wilson 0.5025 to 0.7336
    assert "0 [0, 6] (0), 1 failed" in text
    assert "n = 63 to 64" in text
    assert list(report.rows) == ["ours", "random"]
    assert report.to_json()["oracle"] is None


def test_methods_stand_in_one_table_even_with_different_tasks() -> None:
    one, two = TaskResult(10, 5, 5, 0), TaskResult(10, 1, 1, 0)
    lines = plain(results_table({"ours": {"a": one, "b": two}, "cloning": {"b": one}}, title="demo")).splitlines()
    assert "demo" in lines[0]
    (cloning,) = (line for line in lines if "cloning" in line)
    assert cloning.count("50 [24, 76]") == 1
