"""``am-ray dataset``: what scripts read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from am_ray import SettingsError, read_dataset
from am_ray.cli.dataset import completion_table, parse_episodes
from am_ray.data.writer import DatasetWriter

from .conftest import AmRay


def test_info_says_the_same_in_both_forms(am_ray: AmRay, dataset: Path) -> None:
    data = am_ray("dataset", "info", dataset, "--json").json
    text = am_ray("dataset", "info", dataset).stdout
    assert (data["episodes"], data["transitions"]) == (8, 48)
    assert data["digest"] == read_dataset(dataset).digest
    assert data["digest"] in text


def test_info_shows_who_completes_what() -> None:
    shares = {"ended_in_success": 2 / 3, "placed": 0.5}
    table = completion_table(
        {
            "grasp": {"episodes": 1200, "shares": {"ended_in_success": 2 / 3}},
            "all": {"episodes": 1300, "shares": shares},
        }
    )
    assert table == [
        "task   episodes  ended in success  placed",
        "grasp     1,200               67%       -",
        "all       1,300               67%     50%",
    ]


def test_validate_finds_one_flipped_bit(am_ray: AmRay, dataset: Path) -> None:
    assert am_ray("dataset", "validate", dataset, "--deep", "--json").json["ok"] is True
    (file,) = (dataset / "data").rglob("*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    run = am_ray("dataset", "validate", dataset, "--deep", "--json")

    assert run.code == 1
    assert run.json["ok"] is False
    assert file.name in run.json["problems"][0]
    assert file.name in am_ray("dataset", "validate", dataset, "--deep").stdout


def test_validate_says_how_many_episodes_were_promised(am_ray: AmRay, dataset: Path) -> None:
    assert "ok (8 episodes, 48 transitions read)" in am_ray("dataset", "validate", dataset).stdout
    (file,) = (dataset / "data").rglob("*.parquet")
    file.unlink()
    run = am_ray("dataset", "validate", dataset)
    assert "1 problem (0 of 8 episodes, 0 transitions read)" in run.stdout
    assert "'am-ray pretrain --skip-bad-files'" in run.stdout
    data = am_ray("dataset", "validate", dataset, "--json").json
    assert (data["episodes"], data["promised_episodes"]) == (0, 8)


def test_repair_commits_an_interrupted_write(am_ray: AmRay, dataset: Path, tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "cut")
    for trajectory in list(read_dataset(dataset))[:3]:
        writer.append(trajectory)
    writer.abort()
    assert am_ray("dataset", "info", tmp_path / "cut").code == 2

    run = am_ray("dataset", "repair", tmp_path / "cut", "--json")

    assert (run.code, run.json["episodes"], run.json["was_complete"]) == (0, 3, False)
    assert am_ray("dataset", "info", tmp_path / "cut", "--json").json["digest"] == run.json["digest"]
    assert "was complete already" in am_ray("dataset", "repair", tmp_path / "cut").stdout


def test_a_folder_that_is_no_dataset_is_not_taken_for_an_interrupted_write(am_ray: AmRay, dataset: Path) -> None:
    for action in ("info", "repair"):
        missing = am_ray("dataset", action, dataset / "NOPE")
        assert (missing.code, "there is no dataset here" in missing.stderr) == (2, True)
        above = am_ray("dataset", action, dataset.parent)
        assert (above.code, "Datasets below it: data." in above.stderr) == (2, True)
        assert "interrupted" not in missing.stderr + above.stderr


def test_render_writes_pictures_beside_the_dataset(am_ray: AmRay, dataset: Path) -> None:
    run = am_ray("dataset", "render", dataset, "--episodes", "1-2", "--json")
    folder = dataset.with_name("data-pictures")
    assert sorted(run.json["files"]) == sorted(str(path) for path in folder.iterdir())
    assert {path.suffix for path in folder.iterdir()} == {".png", ".gif"}
    assert len(run.json["files"]) == 4


def test_episode_lists() -> None:
    assert parse_episodes("0, 3,10-12") == [0, 3, 10, 11, 12]
    for text in ("", "a", "1-", "-1", "1,,2", "1-b"):
        with pytest.raises(SettingsError, match="--episodes"):
            parse_episodes(text)
