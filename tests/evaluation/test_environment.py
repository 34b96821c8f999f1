"""What an environment must offer, in each form in which it may offer it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import point_world
import pytest
from policies import SPEC, MakeTowards, Towards

from am_ray.evaluation import evaluate
from am_ray.evaluation.environment import features_of, find_oracle, goal_of, make_environment, success_of
from am_ray.types import DataSpec, EnvironmentContractError

ID = "point_world:PointWorld-v0"


def test_goal_comes_from_the_observation_before_the_info() -> None:
    env = make_environment(ID, {}, render=False)
    observation, info = {"observation": 1, "desired_goal": np.array([1.0])}, {"goal": np.array([2.0])}
    assert goal_of(observation, info, env) == [1.0]
    assert goal_of(np.zeros(2), info, env) == [2.0]


def test_the_policy_reads_observation_or_features_or_the_bare_array() -> None:
    bare = np.arange(3)
    assert features_of({"observation": bare, "desired_goal": bare + 1}) is bare
    assert features_of({"observation": {"state": bare}, "desired_goal": {}}) == {"state": bare}
    assert features_of({"state": bare, "desired_goal": {}})["state"] is bare
    assert features_of(bare) is bare


def test_success_has_two_names() -> None:
    assert success_of({"success": np.bool_(True)}) is True
    assert success_of({"is_success": 0.0}) is False
    assert success_of({"won": True}) is None


@pytest.mark.parametrize("form", ["features", "nested", "box"])
@pytest.mark.parametrize("success_key", ["success", "is_success"])
def test_every_form_of_the_same_world_gives_the_same_rates(form: str, success_key: str) -> None:
    """The noise lets some episodes fail, so that equality says something."""
    reference = evaluate(MakeTowards(0.9), env_id=ID, episodes=12)
    other = evaluate(MakeTowards(0.9), env_id=ID, env_kwargs={"form": form, "success_key": success_key}, episodes=12)
    assert other.rows == reference.rows
    assert 0 < reference.tasks["default"].successes < 12


def test_success_at_the_last_step_alone_is_enough() -> None:
    report = evaluate(MakeTowards(), env_id=ID, env_kwargs={"only_last": True}, episodes=3)
    assert report.tasks["default"].success_rate == 1.0


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"form": "no_goal"}, r"Dict with the keys \['observation'\].*'desired_goal'.*info\['goal'\]"),
        ({"success_key": None}, r"info has the keys \[\].*info\['is_success'\]"),
        ({"gravity": 9.8}, "gravity.*--env-kwargs"),
    ],
)
def test_a_broken_contract_is_refused_before_any_episode(
    kwargs: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("am_ray.evaluation.workers.InProcess.run", lambda *_: pytest.fail("episodes were run"))
    with pytest.raises(EnvironmentContractError, match=said):
        evaluate(MakeTowards(), env_id=ID, env_kwargs=kwargs)


def test_other_actions_are_refused() -> None:
    wide = DataSpec(SPEC.observation_shapes, SPEC.goal_indices, (-1.0,) * 5, (1.0,) * 5)
    with pytest.raises(EnvironmentContractError, match=r"Box.*\(2,\).*shape \(5,\)"):
        evaluate(lambda: Towards(spec=wide), env_id=ID)


@pytest.mark.parametrize("env_id", ["NoSuchWorld-v0", "no_such_package:World-v0"])
def test_unknown_environments_are_refused(env_id: str) -> None:
    with pytest.raises(EnvironmentContractError, match="package:Env-v0"):
        make_environment(env_id, {}, render=False)


def test_an_environment_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("am_ray.evaluation.rollout.NO_END_STEPS", 10)
    with pytest.raises(EnvironmentContractError, match="--max-steps"):
        evaluate(MakeTowards(), env_id=ID)
    assert evaluate(MakeTowards(), env_id=ID, episodes=2, max_steps=9).tasks["default"].n == 2


def test_no_environment_at_all() -> None:
    with pytest.raises(EnvironmentContractError, match="--env"):
        evaluate(MakeTowards())


def test_panels_need_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_world.PointWorld, "metadata", {"render_modes": []})
    blind = lambda **kwargs: point_world.PointWorld(**{**kwargs, "render_mode": None})  # noqa: E731
    gymnasium.register("BlindWorld-v0", entry_point=blind)
    try:
        with pytest.raises(EnvironmentContractError, match="--panels"):
            make_environment("BlindWorld-v0", {}, render=True)
    finally:
        del gymnasium.registry["BlindWorld-v0"]


def test_the_oracle_is_optional() -> None:
    env = make_environment(ID, {}, render=False)
    env.reset(seed=0)
    assert isinstance(find_oracle(env), point_world.Oracle)
    assert find_oracle(gymnasium.make("CartPole-v1")) is None
