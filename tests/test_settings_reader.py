"""Every refusal of the settings reader, and the coercions that YAML makes necessary."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from am_ray.settings import AlgorithmSettings, PretrainSettings, RelabelSettings
from am_ray.settings_reader import check_unchanged, read_settings, settings_sha256, to_mapping
from am_ray.strict_yaml import apply_overrides, load_yaml
from am_ray.types import SettingsError


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    pair: tuple[int, str] = (1, "a")


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    count: int = 3
    flag: bool = False
    mode: Literal["on", "off"] = "off"
    sizes: tuple[int, ...] = (1, 2)
    limit: float | None = None
    shares: dict[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner = dataclasses.field(default_factory=Inner)


def read(text: str) -> Outer:
    return read_settings(Outer, yaml.safe_load(text), "a.yaml")


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_values_are_coerced_by_the_declared_type() -> None:
    settings = read(
        "{name: x, count: 1e3, limit: 3e-4, sizes: [4, 5, 6], inner: {rate: 2, pair: [7, b]}, shares: {a: 1}}"
    )

    assert settings == Outer("x", 1000, limit=3e-4, sizes=(4, 5, 6), inner=Inner(2.0, (7, "b")), shares={"a": 1.0})
    assert type(settings.count) is int
    assert type(settings.inner.rate) is float
    assert read("{name: x, limit: null}").limit is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{name: x, cuont: 3}", "a.yaml: unknown setting cuont. Did you mean count?"),
        ("{name: x, inner: {rates: 3}}", "unknown setting inner.rates. Did you mean inner.rate?"),
        ("{name: x, zzzzzzz: 3}", "Known here: count, flag, inner"),
        ("{count: 3}", "a.yaml: name is missing and has no default"),
        ("{name: on}", "name: got True (true or false); expected a text. (YAML reads on, off"),
        ("{name: 3}", "name: got 3 (a whole number); expected a text"),
        ("{name: x, count: 3.5}", "count: got 3.5 (a number); expected a whole number"),
        ("{name: x, count: true}", "count: got True (true or false); expected a whole number"),
        ("{name: x, count: many}", "count: got 'many' (a text); expected a number"),
        ("{name: x, count: null}", "count: got None (nothing); expected a whole number"),
        ("{name: x, flag: 1}", "flag: got 1 (a whole number); expected true or false"),
        ("{name: x, flag: 'true'}", "flag: got 'true' (a text); expected true or false"),
        ("{name: x, limit: .nan}", "limit: got nan (a number); expected a finite number"),
        ("{name: x, limit: inf}", "limit: got 'inf' (a text); expected a finite number"),
        ("{name: x, limit: [1]}", "limit: got [1] (a list); expected a number"),
        ("{name: x, mode: of}", "mode: got 'of' (a text); expected one of on, off. Did you mean off?"),
        ("{name: x, mode: on}", "mode: got True (true or false); expected one of on, off"),
        ("{name: x, sizes: 4}", "sizes: got 4 (a whole number); expected a list"),
        ("{name: x, sizes: [4, x]}", "sizes[1]: got 'x' (a text); expected a number"),
        ("{name: x, inner: {pair: [1]}}", "inner.pair: got [1] (a list); expected a list of 2 values"),
        ("{name: x, inner: 4}", "inner: got 4 (a whole number); expected a mapping"),
        ("{name: x, shares: 4}", "shares: got 4 (a whole number); expected a mapping"),
        ("{name: x, shares: {a: b}}", "shares.a: got 'b' (a text); expected a number"),
    ],
)
def test_refusals_say_where_what_and_what_was_wanted(text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        read(text)
    assert expected in str(error.value)
    assert str(error.value).startswith("a.yaml: ")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("algorithm.relabel.chaining_ratio=1.5", "x.yaml: algorithm.relabel: RelabelSettings.chaining_ratio: got 1.5"),
        ("algorithm.optimization.batch_size=0", "expected a value in [1, 1000000]"),
        ("algorithm.relabel.last_state_share=0.97", "last_state_share + next_state_share is 1.02"),
        ("seed=-1", "PretrainSettings.seed: got -1; expected a value in [0, 2147483647]"),
        ("seed=2147483648", "PretrainSettings.seed: got 2147483648"),
        ("training.update=5", "unknown setting training.update. Did you mean training.updates?"),
    ],
)
def test_real_settings_refuse_what_is_out_of_range(override: str, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(PretrainSettings, apply_overrides({}, [override]), "x.yaml")
    assert expected in str(error.value)


NO_TARGET = {"target_uniform": 0, "target_data": 0, "target_next_action": False}
NO_NEGATIVES = {"negative_uniform": 0, "negative_data": 0, "negative_perturbed": 0}


@pytest.mark.parametrize(
    ("critic", "expected"),
    [(NO_TARGET, "target_next_action = false; expected at least one"), (NO_NEGATIVES, "set negative_ratio: 0")],
)
def test_a_critic_without_candidates_is_refused(critic: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        read_settings(PretrainSettings, {"algorithm": {"critic": critic}}, "x.yaml")


@pytest.mark.parametrize(
    "algorithm",
    [
        {"critic": NO_NEGATIVES | {"negative_ratio": 0}},
        {"critic": NO_TARGET | NO_NEGATIVES, "model": {"proposal": "learned"}},
        {"critic": NO_TARGET | NO_NEGATIVES, "method": "behavior_cloning"},
        *(
            {"critic": NO_TARGET | {name: value}}
            for name, value in [("target_uniform", 1), ("target_next_action", True)]
        ),
        *({"critic": NO_NEGATIVES | {name: 1}} for name in NO_NEGATIVES),
    ],
)
def test_one_source_of_candidates_is_enough(algorithm: dict[str, Any]) -> None:
    read_settings(PretrainSettings, {"algorithm": algorithm}, "x.yaml")


def test_every_default_survives_the_round_trip_through_yaml() -> None:
    settings = PretrainSettings(algorithm=AlgorithmSettings(relabel=RelabelSettings(chaining_ratio=0.2)))

    back = read_settings(PretrainSettings, yaml.safe_load(yaml.safe_dump(to_mapping(settings))), "x.yaml")

    assert back == settings
    assert settings_sha256(back) == settings_sha256(settings)
    assert settings_sha256(back) != settings_sha256(PretrainSettings())


def test_overrides_are_read_as_yaml_and_leave_the_original_alone() -> None:
    original: dict[str, Any] = {"a": {"b": 1}}

    result = apply_overrides(original, ["a.b=[1, 2]", "a.c.d=3e-4", "e=x=y"])

    assert result == {"a": {"b": [1, 2], "c": {"d": "3e-4"}}, "e": "x=y"}
    assert original == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("override", "expected"),
    [("a", "expected name=value"), ("=3", "expected name=value"), ("a..b=3", "expected name=value"),
     ("a.b.c=3", "b is a whole number, which has no settings inside"), ("a.b=[1", "is not a plain YAML value"),
     ("a.b=!!python/name:os.system x", "is not a plain YAML value")],
)  # fmt: skip
def test_malformed_overrides_are_refused(override: str, expected: str) -> None:
    with pytest.raises(SettingsError, match="--set") as error:
        apply_overrides({"a": {"b": 1}}, [override])
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands twice"),
        ("a:\n  b: 1\n  b: 2\n", "line 3: the key 'b' stands twice"),
        ("a: {b: 1, b: 2}\n", "the key 'b' stands twice"),
        ("1: 2\n", "the key 1 is a whole number; expected a name"),
        ("- 1\n- 2\n", "got a list at the top; expected a mapping"),
        ("a: [1\n", "not valid YAML"),
    ],
)
def test_files_that_say_two_things_or_nothing_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        load_yaml(path)
    assert str(error.value).startswith(f"{path}: ")
    assert expected in str(error.value)


def test_python_objects_in_yaml_are_refused_and_not_built(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path, f"a: !!python/object/apply:os.mkdir ['{trace}']\n")

    with pytest.raises(SettingsError, match=r"python/object/apply:os\.mkdir.*Settings are plain data"):
        load_yaml(path)

    assert not trace.exists()


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read"):
        load_yaml(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(os.urandom(64) + b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"binary\.yaml: "):
        load_yaml(tmp_path / "binary.yaml")


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read_settings(PretrainSettings, load_yaml(written(tmp_path, "# nothing\n")), "x") == PretrainSettings()


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"name": "b"}, r"begun with name = 'b', now 'a'; why\. Change it back, or use another --run-name\."),
        ({"inner": {"rate": 0.2, "pair": [1, "a"]}}, r"begun with inner\.rate = 0\.2, now 0\.1; why"),
        (
            {"inner": {"rate": 0.1, "pair": [1, "a"], "gone": 2}},
            r"begun by a version with inner\.gone = 2; why\. Use .*, or that version",
        ),
        (
            {"inner": {"rate": 0.1}},
            r"begun by a version without inner\.pair, now \[1, 'a'\]; why\. Use another --run-name, or that",
        ),
        # None is a value that a setting may have, not its absence.
        ({"limit": ...}, "begun by a version without limit, now None"),
        ({"limit": 2.0}, r"begun with limit = 2\.0, now None"),
        # Of several the first of the settings; those that may differ are passed over.
        ({"mode": "on", "flag": True, "count": 4}, "begun with flag = True, now False"),
        # A mapping whose keys are the user's is one value.
        ({"shares": {}}, r"begun with shares = {}, now {'x': 1\.0}"),
        ({"shares": {"x": 1.0, "y": 2.0}}, r"begun with shares = {'x': 1\.0, 'y': 2\.0}, now {'x': 1\.0}"),
    ],
)
def test_a_change_is_named_with_both_values(before: dict[str, Any], expected: str) -> None:
    settings = read("{name: a, shares: {x: 1}}")
    recorded = {name: value for name, value in {**to_mapping(settings), **before}.items() if value is not ...}
    with pytest.raises(SettingsError, match=f"^folder: {expected}"):
        check_unchanged(recorded, settings, where="folder", why="why.", may_differ=lambda name: name == "count")


def test_what_is_as_recorded_or_may_differ_is_no_change() -> None:
    settings = read("{name: a, shares: {x: 1}}")
    recorded = yaml.safe_load(yaml.safe_dump(to_mapping(settings))) | {"count": 9}
    check_unchanged(
        recorded | {"inner": {}}, settings, where="", why="", may_differ=lambda name: name in ("count", "inner")
    )
