"""`config check` and `config example`: the settings, before anything starts."""

import re
from pathlib import Path

import pytest

from tests.support.command_line import run


async def test_check_says_what_would_start_and_what_looks_wrong(tmp_path: Path) -> None:
    """The same screen and warnings as a start; nothing is made or changed."""
    (tmp_path / ".env").write_text("AUTOENHANCE_APIKEY=key-of-the-account\n")

    ended = await run("config", "check", folder=tmp_path, ADMIN_TOKEN="token-of-the-administrator")

    assert ended.code == 0
    headings = re.findall(r"^  (\w+) ", ended.output, re.MULTILINE)
    assert headings == ["version", "upstream", "data", "callers", "on", "off"]
    assert "administrators" in ended.output
    assert "perhaps AUTOENHANCE_API_KEY is meant" in ended.errors
    assert "AUTOENHANCE_API_KEY is not set" in ended.errors
    assert "token-of-the" not in ended.output + ended.errors
    assert not (tmp_path / "data").exists()


async def test_check_names_every_wrong_setting(tmp_path: Path) -> None:
    """As the start would, with its exit code."""
    checked = await run("config", "check", folder=tmp_path, PORT="70000", LOG_FORMAT="xml")
    started = await run("serve", folder=tmp_path, PORT="70000", LOG_FORMAT="xml")

    assert (checked.code, checked.errors) == (started.code, started.errors) == (2, started.errors)
    assert "PORT: must be" in checked.errors


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
@pytest.mark.parametrize(
    ("presets", "reason"),
    [
        ("[]", "RENDITIONS: must be a JSON object of presets by name"),
        ('{"flyer": {"quality": 91}}', "RENDITIONS: flyer: quality must be a whole number from 1 to 90"),
    ],
)
async def test_a_preset_that_cannot_be_used_is_named(
    tmp_path: Path, command: tuple[str, ...], presets: str, reason: str
) -> None:
    """In one line, and nothing starts."""
    ended = await run(*command, folder=tmp_path, RENDITIONS=presets)

    assert (ended.code, reason in ended.errors) == (2, True)
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
async def test_a_proxy_that_is_none_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    """In one line, and nothing starts."""
    ended = await run(*command, folder=tmp_path, HTTPS_PROXY="socks5://proxy.example:1080")

    said = "autoenhance-batch: HTTPS_PROXY must be the URL of an HTTP proxy, such as http://proxy.example:3128\n"
    assert (ended.code, ended.errors) == (2, said)


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
async def test_what_several_instances_need_and_is_not_installed_is_named(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """With the way to get it; nothing starts."""
    (tmp_path / "obstore.py").write_text("raise ImportError")  # found before the one that is installed

    ended = await run(*command, folder=tmp_path, SHARED_URL="redis://127.0.0.1/0", STORE_URL="s3://batch/archives")

    assert (ended.code, ended.errors.count("\n")) == (2, 1), ended.errors
    assert "STORE_URL: needs the extra s3, which is not installed: pip install" in ended.errors


@pytest.mark.parametrize(("path", "reason"), [("/dev/null/x", "is not a folder"), ("file/x", "is not a folder")])
async def test_check_says_when_the_data_directory_cannot_be(tmp_path: Path, path: str, reason: str) -> None:
    """A path below a file."""
    (tmp_path / "file").touch()

    ended = await run("config", "check", folder=tmp_path, DATA_DIR=path)

    assert (ended.code, "DATA_DIR: " in ended.errors, reason in ended.errors) == (2, True, True)
