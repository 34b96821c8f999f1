from __future__ import annotations

import json
from pathlib import Path

import pytest

from am_ray.envs.behaviours import BEHAVIOURS
from am_ray.envs.recipe import PLAY_MIXTURE, TrayRecipe, load_recipe
from am_ray.types import SettingsError

RECIPES = Path(__file__).parents[2] / "datasets"


@pytest.mark.parametrize("name", ["tray_play", "tray_stitch", "tray_smoke"])
def test_each_shipped_recipe_loads_and_opens_with_a_comment(name: str) -> None:
    file = load_recipe(RECIPES / f"{name}.yaml")
    assert (RECIPES / f"{name}.yaml").read_text().startswith("#")
    assert file.episodes > 0
    assert TrayRecipe.from_mapping(json.loads(json.dumps(file.recipe.to_mapping()))) == file.recipe


def test_the_play_mixture_has_every_behaviour_that_does_not_start_held() -> None:
    assert set(PLAY_MIXTURE) == {name for name, behaviour in BEHAVIOURS.items() if not behaviour.starts_held}
    assert set(load_recipe(RECIPES / "tray_play.yaml").recipe.mixture) == set(PLAY_MIXTURE)


def test_no_behaviour_of_stitch_holds_both_a_pick_and_a_place() -> None:
    mixture = load_recipe(RECIPES / "tray_stitch.yaml").recipe.mixture
    assert not {"place", "rearrange", "regrasp", "drop"} & set(mixture)
    assert {"grasp", "place_held"} <= set(mixture)


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match="Did you mean image_size"):
        TrayRecipe.from_mapping({"imagesize": 32})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arm": "kuka"}, "panda, gantry"),
        ({"kinds": ["box", "pear"], "num_objects": [1, 2]}, "pear"),
        ({"num_objects": [3, 9]}, r"num_objects: got \(3, 9\)"),
        ({"num_actions": [20, 10]}, "low and high"),
        ({"observation": "depth"}, "state, image, image_gripper, both"),
        ({"image_size": 4}, "8 pixels"),
        ({"episodes_per_scene": 0}, "episodes_per_scene: got 0"),
        ({"num_behaviours": [0, 2]}, "num_behaviours: got"),
        (
            {"num_behaviours": [2, 2], "mixture": {"place_held": 1.0}},
            "mixture.place_held: got 1.0; expected 0, since it begins with",
        ),
        ({"mixture": {"juggle": 1.0}}, "juggle"),
        ({"mixture": {"grasp": -1.0}}, "0 or more"),
        ({"mixture": {"grasp": 0.0}}, "above 0"),
        ({"container": None, "mixture": {"place": 1.0}}, "container is null"),
        ({"container": "bag"}, "bin, plate or null"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrayRecipe.from_mapping(values)


def test_a_missing_or_malformed_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(SettingsError, match="expected a mapping"):
        load_recipe(tmp_path / "list.yaml")
    (tmp_path / "none.yaml").write_text("episodes: 0\n")
    with pytest.raises(SettingsError, match="episodes"):
        load_recipe(tmp_path / "none.yaml")
