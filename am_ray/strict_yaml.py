"""Reading YAML files and ``--set`` options, strictly: plain data only, no key twice.

Apart from `settings_reader`, so that reading a checkpoint's settings needs no YAML library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from am_ray.settings_reader import kind_of
from am_ray.types import SettingsError

_REMEDY = "numbers, texts, lists and mappings."


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, of plain data only.

    Raises:
        SettingsError: The file is missing, not YAML, not a mapping, repeats a key, or asks for a Python object.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}); expected a YAML file. Check the path.") from error
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.constructor.ConstructorError as error:
        raise SettingsError(f"{path}: {_place(error)}{error.problem}. Settings are plain data: {_REMEDY}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}. Correct the file.") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: got {kind_of(value)} at the top; expected a mapping. Write `name: value` lines.")
    return value


def apply_overrides(mapping: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of ``mapping`` with each ``a.b=c`` set; ``c`` is read as YAML.

    Raises:
        SettingsError: An override without ``=``, or one that goes through a plain value.
    """
    result: dict[str, Any] = _copied(mapping)
    for override in overrides:
        name, equals, text = override.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise SettingsError(f"--set {override}: expected name=value, such as training.updates=2000.")
        try:
            value = yaml.load(text, Loader=_StrictLoader)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {override}: {text!r} is not a plain YAML value. Quote it.") from error
        target = result
        for key in keys[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise SettingsError(f"--set {override}: {key} is {kind_of(target)}, which has no settings inside.")
        target[keys[-1]] = value
    return result


class _StrictLoader(yaml.SafeLoader):
    """Safe loading that also refuses repeated keys (YAML's rule; PyYAML keeps the last one silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"the key {key!r} is {kind_of(key)}; expected a name"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} stands twice in one mapping; expected once"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _place(error: yaml.MarkedYAMLError) -> str:
    return "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "


def _copied(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(item) if isinstance(item, Mapping) else item for key, item in mapping.items()}
