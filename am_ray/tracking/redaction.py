"""What must not leave the machine, and names that MLflow takes."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any

_SECRET_NAME = re.compile(r"(?i)(^|[._/-])(password|passwd|secret|token|api_?key|access_?key|credentials?)($|[._/-])")
_PASSWORD = re.compile(r"(://[^/@\s:]*):[^@/\s]+@")
HIDDEN = "[redacted]"


def key_name(name: str) -> str:
    """``name`` with what MLflow refuses in names of metrics and params replaced."""
    return posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).lstrip("/.")[:250] or "_"


def redacted(name: str, value: str) -> str:
    """``value`` without passwords: none of a value called token, secret and the like, nor those inside addresses."""
    return HIDDEN if value and _SECRET_NAME.search(name) else _PASSWORD.sub(r"\1:***@", value)


def flat_texts(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """``{"a": {"b": 1}}`` as ``{"a.b": "1"}``; texts stay as they are, all else is JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flat_texts(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[key_name(name)] = redacted(name, text)
    return flat
