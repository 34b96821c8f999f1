"""Which dashboard is talked to, and that no token means no talk with another machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from am_ray.jobs import JobsError, resolve_access

REMOTE = "http://192.0.2.7:8265"  # TEST-NET: nothing is there
TOKEN = "c0ffee-not-a-real-token"


@pytest.mark.parametrize(
    ("option", "environ", "expected", "source"),
    [
        (None, {}, "http://127.0.0.1:8265", "default"),
        (None, {"RAY_ADDRESS": "http://localhost:1"}, "http://localhost:1", "RAY_ADDRESS"),
        (None, {"RAY_ADDRESS": "http://[::1]:1", "RAY_API_SERVER_ADDRESS": "https://127.0.0.2/"}, "https://127.0.0.2", "RAY_API_SERVER_ADDRESS"),
        ("http://localhost:3/", {"RAY_API_SERVER_ADDRESS": "http://localhost:4"}, "http://localhost:3", "--address"),
    ],
)  # fmt: skip
def test_the_option_wins_over_the_environment(
    tmp_path: Path, option: str | None, environ: dict[str, str], expected: str, source: str
) -> None:
    access = resolve_access(option, environ=environ, home=tmp_path)
    assert (access.address, access.address_source, access.token) == (expected, source, None)


@pytest.mark.parametrize("text", ["auto", "127.0.0.1:6379", "ray://head:10001", "http://", "anyscale://x"])
def test_what_is_no_dashboard_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobsError, match=r"--address: got .*expected the dashboard's address"):
        resolve_access(text, environ={}, home=tmp_path)
    with pytest.raises(JobsError, match="RAY_ADDRESS: got"):
        resolve_access(None, environ={"RAY_ADDRESS": text}, home=tmp_path)


def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(JobsError) as error:
        resolve_access("http://me:hunter2@localhost:8265", environ={}, home=tmp_path)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "address", [REMOTE, "https://ray.example.org", "http://0.0.0.0:8265", "http://localhost.example:1"]
)
def test_another_machine_needs_a_token_or_the_users_word(tmp_path: Path, address: str) -> None:
    with pytest.raises(JobsError, match=r"no token.*RAY_AUTH_TOKEN.*--insecure"):
        resolve_access(address, environ={}, home=tmp_path)
    assert resolve_access(address, insecure=True, environ={}, home=tmp_path).headers == {}
    with pytest.raises(JobsError, match="RAY_AUTH_MODE is disabled"):
        resolve_access(address, environ={"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": TOKEN}, home=tmp_path)
    access = resolve_access(address, environ={"RAY_AUTH_TOKEN": f" {TOKEN}\n"}, home=tmp_path)
    assert access.headers == {"Authorization": f"Bearer {TOKEN}"}
    assert access.unencrypted == address.startswith("http://")


def test_the_token_is_found_where_ray_finds_it_and_never_shown(tmp_path: Path) -> None:
    kept, named = tmp_path / ".ray" / "auth_token", tmp_path / "elsewhere"
    kept.parent.mkdir()
    kept.write_text("of-the-file\n")
    named.write_text("of-the-path")
    environ = {"RAY_AUTH_TOKEN": TOKEN, "RAY_AUTH_TOKEN_PATH": str(named)}
    found = []
    for _ in range(3):
        access = resolve_access(REMOTE, environ=environ, home=tmp_path)
        found.append((access.token_source, access.token))
        assert access.token not in repr(access)
        if environ:
            del environ[next(iter(environ))]
    assert found == [
        ("RAY_AUTH_TOKEN", TOKEN),
        ("RAY_AUTH_TOKEN_PATH", "of-the-path"),
        ("~/.ray/auth_token", "of-the-file"),
    ]
    with pytest.raises(JobsError, match=r"RAY_AUTH_TOKEN_PATH: .*missing cannot be read"):
        resolve_access(REMOTE, environ={"RAY_AUTH_TOKEN_PATH": str(tmp_path / "missing")}, home=tmp_path)
    named.write_text("\n")
    with pytest.raises(JobsError, match="elsewhere is empty"):
        resolve_access(REMOTE, environ={"RAY_AUTH_TOKEN_PATH": str(named)}, home=tmp_path)


def test_a_token_on_this_machine_crosses_no_network(tmp_path: Path) -> None:
    assert not resolve_access(None, environ={"RAY_AUTH_TOKEN": TOKEN}, home=tmp_path).unencrypted
