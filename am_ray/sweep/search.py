"""What a sweep varies: the words of ray.tune, expanded on the driver, so that the same file always means the same trials."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from am_ray.settings import PretrainSettings
from am_ray.settings_reader import flat, kind_of, to_mapping
from am_ray.study_settings import SweepSettings
from am_ray.types import SettingsError

GRID = "grid_search"
LISTS = (GRID, "choice")
RANGES = ("uniform", "loguniform", "randint")


def expand(sweep: SweepSettings, where: str) -> list[dict[str, Any]]:
    """The values of each trial, by dotted setting, in the order of ray.tune.

    Draws depend on ``search_seed`` and the search alone, and more of them begin with the fewer.

    Raises:
        SettingsError: A setting that does not exist, a word that does not exist, or values that do not fit it.
    """
    checked = {key: _entry(key, entry, f"{where}: sweep.search.{key}") for key, entry in sweep.search.items()}
    if not checked:
        raise SettingsError(
            f"{where}: sweep.search is empty; expected settings to vary, such as "
            f"'algorithm.relabel.chaining_ratio: {{grid_search: [0.0, 0.5]}}'. Add them."
        )
    if sweep.num_samples > 1 and not is_random(sweep.search):
        raise SettingsError(
            f"{where}: sweep.num_samples is {sweep.num_samples}, but nothing is drawn: a grid repeated gives the same trials "
            f"again. Search over 'seed' instead, such as 'seed: {{grid_search: [0, 1, 2]}}'."
        )
    return _draw(checked, sweep)


def is_random(search: Mapping[str, Any]) -> bool:
    """Whether anything is drawn."""
    return any(GRID not in entry for entry in search.values())


def _draw(search: Mapping[str, tuple[str, Any]], sweep: SweepSettings) -> list[dict[str, Any]]:
    import numpy as np
    from ray import tune
    from ray.tune.search.variant_generator import generate_variants

    space: dict[str, Any] = {}
    for key, (word, value) in search.items():
        function = getattr(tune, word)
        space[key] = function(value) if word in LISTS else function(*value)
    generator = np.random.default_rng(sweep.search_seed)
    found: list[dict[str, Any]] = []
    for _ in range(sweep.num_samples):
        for _, variant in generate_variants(space, random_state=generator):
            values = {key: _plain(variant[key]) for key in search}
            if values not in found:  # a choice may be drawn twice; the same trial again would tell nothing
                found.append(values)
    return found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _entry(key: str, entry: Any, where: str) -> tuple[str, Any]:
    _check_key(key, where)
    words = (*LISTS, *RANGES)
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise SettingsError(
            f"{where}: got {entry!r} ({kind_of(entry)}); expected one of {', '.join(words)} with its values, such as "
            f"{{grid_search: [0.0, 0.5]}}."
        )
    ((word, value),) = entry.items()
    if word not in words:
        near = difflib.get_close_matches(str(word), words, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(words)}."
        raise SettingsError(f"{where}: unknown word {word}. {hint}")
    return word, _list(word, value, where) if word in LISTS else _range(word, value, where)


def _check_key(key: str, where: str) -> None:
    known = setting_names()
    if key in known:
        return
    inside = [name for name in known if name.startswith(f"{key}.")]
    if inside:
        raise SettingsError(f"{where}: {key} holds settings and is none. Name one, such as {inside[0]}.")
    last = {name.rsplit(".", 1)[-1]: name for name in known}
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    near = near or [last[name] for name in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(last), n=1)]
    hint = f"Did you mean {near[0]}?" if near else "See am_ray/settings/ for the settings of a run."
    raise SettingsError(f"{where}: unknown setting {key}. {hint}")


def setting_names() -> list[str]:
    """Every setting of a run, dotted."""
    return sorted(flat(to_mapping(PretrainSettings())))


def _list(word: str, value: Any, where: str) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise SettingsError(
            f"{where}: {word}: got {value!r} ({kind_of(value)}); expected a list of values. Correct it."
        )
    values = list(value)
    if any(isinstance(item, Mapping) for item in values):
        raise SettingsError(
            f"{where}: {word}: got {values!r}; expected numbers, texts or lists, no mappings. Correct it."
        )
    twice = [item for place, item in enumerate(values) if item in values[:place]]
    if twice:
        raise SettingsError(f"{where}: {word}: {twice[0]!r} stands twice; expected each value once. Take one out.")
    return values


def _range(word: str, value: Any, where: str) -> tuple[Any, Any]:
    wanted = f"{where}: {word}: got {value!r}; expected [low, high] with low < high"
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise SettingsError(f"{wanted}. Correct it.")
    try:
        low, high = (float(item) for item in value)  # PyYAML reads 3e-4 as a text
    except (TypeError, ValueError):
        raise SettingsError(f"{wanted}, both numbers. Correct it.") from None
    if not low < high:
        raise SettingsError(f"{wanted}. Correct it.")
    if word == "loguniform" and low <= 0:
        raise SettingsError(f"{wanted} and low above 0. Use uniform, or raise low.")
    if word != "randint":
        return low, high
    if not (low.is_integer() and high.is_integer()):
        raise SettingsError(f"{wanted}, both whole numbers (high itself is never drawn). Correct it.")
    return int(low), int(high)
