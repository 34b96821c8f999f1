"""Which dashboard a command talks to, and with what right.

Whoever reaches the dashboard of a Ray cluster may run any program on it, so a cluster that other machines can reach
needs Ray's token authentication (RAY_AUTH_MODE=token on every node). The token is read where Ray reads it, goes into
one HTTP header, and is never printed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from am_ray.types import AmRayError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
TOKEN_REMEDY = (
    "Put the cluster's token into RAY_AUTH_TOKEN, a file named by RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token "
    "(`ray get-auth-token` shows it on the head node)"
)


class JobsError(AmRayError):
    """A job that cannot be submitted, found or followed."""


@dataclass(frozen=True)
class Access:
    """A dashboard and the token for it.

    Attributes:
        address: ``http://host:port`` or ``https://host:port``, without a slash at the end.
        address_source: Option or variable that named it.
        loopback: Whether it is this machine (or a tunnel that begins here).
        token: What goes into the header, or None.
        token_source: Variable or file that the token came from, or None.
    """

    address: str
    address_source: str
    loopback: bool
    token: str | None = field(repr=False)
    token_source: str | None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    @property
    def unencrypted(self) -> bool:
        """A token would cross a network in the clear."""
        return self.token is not None and not self.loopback and self.address.startswith("http://")


def resolve_access(
    address: str | None, *, insecure: bool = False, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> Access:
    """Address: the option, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS, else Ray's default on this machine.

    Args:
        address: Of the command line. Unlike with Ray's own client, it wins over the environment.
        insecure: Go on without a token where one is asked for.
        environ: The environment.
        home: Folder that holds ``.ray/auth_token``; by default the user's.

    Raises:
        JobsError: It is no address of a dashboard, or not this machine's and there is no token for it.
    """
    options = {"--address": address} | {name: environ.get(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    source, text = next(((name, text) for name, text in options.items() if text), ("default", DEFAULT_ADDRESS))
    text, host = _checked(text, source)
    loopback = _is_loopback(host)
    token, token_source = _token(environ, home or Path.home())
    if token is None and not loopback and not insecure:
        why = " (RAY_AUTH_MODE is disabled)" if _disabled(environ) else ""
        raise JobsError(
            f"{text}: not this machine, and no token for it{why}: whoever reaches a dashboard without one runs programs "
            f"there. {TOKEN_REMEDY}; --insecure goes on without."
        )
    return Access(text, source, loopback, token, token_source)


def _checked(text: str, source: str) -> tuple[str, str]:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JobsError(
            f"{source}: got {text!r}; expected the dashboard's address, such as {DEFAULT_ADDRESS} (`ray status` and the "
            f"output of `ray start` name it). Correct it."
        )
    if parts.username or parts.password:
        # Not quoted: it holds a password.
        raise JobsError(f"{source}: an address with a user or password in it; expected http(s)://HOST:PORT. Drop them.")
    return text.rstrip("/"), parts.hostname


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _disabled(environ: Mapping[str, str]) -> bool:
    return environ.get("RAY_AUTH_MODE", "token").lower() != "token"


def _token(environ: Mapping[str, str], home: Path) -> tuple[str | None, str | None]:
    """The token and its source, in Ray's order."""
    if _disabled(environ):
        return None, None
    if environ.get("RAY_AUTH_TOKEN", "").strip():
        return environ["RAY_AUTH_TOKEN"].strip(), "RAY_AUTH_TOKEN"
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else home / ".ray" / "auth_token"
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise JobsError(f"RAY_AUTH_TOKEN_PATH: {path} cannot be read ({error}). Correct the path.") from error
        return None, None
    if named and not token:
        raise JobsError(f"RAY_AUTH_TOKEN_PATH: {path} is empty; expected a token. Correct the file.")
    return (token, "RAY_AUTH_TOKEN_PATH" if named else "~/.ray/auth_token") if token else (None, None)
