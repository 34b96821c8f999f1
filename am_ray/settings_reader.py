"""From plain mappings (YAML, ``--set``, JSON) to frozen settings, strictly: nothing is ignored, nothing is guessed.

PyYAML reads ``3e-4`` as a string and ``on`` as True, so a value is judged by the type its field declares.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from am_ray.types import SettingsError

SettingsT = TypeVar("SettingsT")


def read_settings(cls: type[SettingsT], mapping: Mapping[str, Any], where: str) -> SettingsT:
    """Settings of type ``cls``, a frozen dataclass; keys that are absent take their defaults.

    Args:
        cls: The dataclass. Its fields may be dataclasses, bool, int, float, str, Literal, tuple, mapping, or optional.
        mapping: What the user wrote.
        where: File (or option) that it was written in, for messages.

    Raises:
        SettingsError: A key that does not exist, a key without default that is missing, a value of another type,
            or one that the dataclass itself refuses (out of range).
    """
    return _dataclass(cls, mapping, where, "")


def to_mapping(settings: Any) -> dict[str, Any]:
    """The plain mapping that `read_settings` turns into equal settings; every default is written out."""
    return {entry.name: _plain(getattr(settings, entry.name)) for entry in dataclasses.fields(settings)}


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names; an empty mapping stays a value."""
    result: dict[str, Any] = {}
    for key, value in mapping.items():
        inner = isinstance(value, Mapping) and bool(value)
        result |= flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return result


def check_unchanged(
    before: Mapping[str, Any],
    settings: Any,
    *,
    where: str,
    why: str,
    may_differ: Callable[[str], bool] = lambda name: False,
) -> None:
    """Refuses settings that are not those of a record.

    Args:
        before: As `to_mapping` wrote them. Of another version it may lack settings, or have some that are gone.
        settings: Of now.
        where: The record's folder, for the message.
        why: The sentence that says why they have to be the same.
        may_differ: Says of a setting, or of a section of them, by its dotted name, whether it counts for nothing.

    Raises:
        SettingsError: Names the first that differs, in the order of the settings, with both values.
    """
    change = _first_change(before, settings, may_differ, "")
    if change is None:
        return
    name, old, new = change
    if old is _ABSENT or new is _ABSENT:
        said = f"a version without {name}, now {new!r}" if old is _ABSENT else f"a version with {name} = {old!r}"
        raise SettingsError(f"{where}: begun by {said}; {why} Use another --run-name, or that version.")
    raise SettingsError(
        f"{where}: begun with {name} = {old!r}, now {new!r}; {why} Change it back, or use another --run-name."
    )


_ABSENT = object()


def _first_change(
    before: Mapping[str, Any], settings: Any, may_differ: Callable[[str], bool], prefix: str
) -> tuple[str, Any, Any] | None:
    now = {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(settings)}
    for key in dict.fromkeys([*now, *before]):
        name, old, new = f"{prefix}{key}", before.get(key, _ABSENT), now.get(key, _ABSENT)
        if may_differ(name):
            continue
        if dataclasses.is_dataclass(new) and isinstance(old, Mapping):
            found = _first_change(old, new, may_differ, f"{name}.")
            if found is not None:
                return found
        elif old != _plain(new):
            return name, old, _plain(new)
    return None


def settings_sha256(settings: Any) -> str:
    """A digest of the resolved settings: equal for equal settings, whatever file they came from."""
    text = json.dumps(to_mapping(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _dataclass(cls: type[SettingsT], value: Any, where: str, prefix: str) -> SettingsT:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{where}: {prefix.rstrip('.')}: got {_shown(value)}; expected a mapping of settings.")
    entries = {entry.name: entry for entry in dataclasses.fields(cast(Any, cls))}
    for key in value:
        if key not in entries:
            raise SettingsError(_unknown_key(key, list(entries), where, prefix))
    hints = typing.get_type_hints(cls)
    arguments = {key: _value(hints[key], item, where, prefix + key) for key, item in value.items()}
    for name, entry in entries.items():
        has_default = (entry.default, entry.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        if name not in arguments and not has_default:
            raise SettingsError(f"{where}: {prefix}{name} is missing and has no default. Add it.")
    try:
        return cls(**arguments)
    except SettingsError as error:
        raise SettingsError(f"{where}: {prefix.rstrip('.') + ': ' if prefix else ''}{error}") from error


def _unknown_key(key: Any, known: list[str], where: str, prefix: str) -> str:
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    remedy = f"Did you mean {prefix}{near[0]}?" if near else f"Known here: {', '.join(sorted(known))}."
    return f"{where}: unknown setting {prefix}{key}. {remedy}"


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(cast(type[Any], hint), value, where, f"{key}.")
    if origin is typing.Literal:
        return _literal(typing.get_args(hint), value, where, key)
    if origin in (typing.Union, types.UnionType):
        inner = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _value(inner[0], value, where, key)
    if origin is tuple:
        return _tuple(typing.get_args(hint), value, where, key)
    if origin in (dict, Mapping):
        names, item = typing.get_args(hint)
        return _mapping(names, item, value, where, key)
    return value if hint is Any else _scalar(hint, value, where, key)


def _mapping(names: Any, item: Any, value: Any, where: str, key: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, key, value, "a mapping")
    if typing.get_origin(names) is typing.Literal:
        for name in value:
            _literal(typing.get_args(names), name, where, key)
    return {name: _value(item, entry, where, f"{key}.{name}") for name, entry in value.items()}


def _literal(options: tuple[Any, ...], value: Any, where: str, key: str) -> Any:
    # Booleans equal 0 and 1, so the type is compared too.
    if any(option == value and type(option) is type(value) for option in options):
        return value
    near = difflib.get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise SettingsError(f"{where}: {key}: got {_shown(value)}; expected one of {', '.join(map(str, options))}.{hint}")


def _tuple(items: tuple[Any, ...], value: Any, where: str, key: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(where, key, value, "a list")
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise _wrong(where, key, value, f"a list of {len(items)} values")
    return tuple(
        _value(item, entry, where, f"{key}[{i}]") for i, (item, entry) in enumerate(zip(items, value, strict=True))
    )


def _scalar(hint: type[Any], value: Any, where: str, key: str) -> Any:
    if type(value) is hint:
        if hint is float and not math.isfinite(value):
            raise _wrong(where, key, value, "a finite number")
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint is float and isinstance(value, str):
        return _number(value, where, key)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    if hint is int and isinstance(value, str):
        number = _number(value, where, key)
        if number.is_integer():
            return int(number)
    raise _wrong(where, key, value, _NAMES.get(hint, hint.__name__))


def _number(text: str, where: str, key: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _wrong(where, key, text, "a number") from None
    if not math.isfinite(number):
        raise _wrong(where, key, text, "a finite number")
    return number


_NAMES: dict[type[Any], str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _wrong(where: str, key: str, value: Any, wanted: str) -> SettingsError:
    hint = ""
    if isinstance(value, bool):
        hint = " (YAML reads on, off, yes and no as true and false: quote them.)"
    return SettingsError(f"{where}: {key}: got {_shown(value)}; expected {wanted}.{hint}")


def _shown(value: Any) -> str:
    return f"{value!r} ({kind_of(value)})"


def kind_of(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", type(None): "nothing"}
    return names.get(type(value)) or _NAMES.get(type(value), type(value).__name__)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_mapping(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
