"""How `download` ends, of several orders."""

import asyncio
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from service.commands import download as download_command
from service.commands.client import Interrupted, Refused, Service
from service.commands.download import download
from service.commands.fetching import Fetched, NothingNew
from service.commands.output import Output
from service.commands.partial import Partial
from service.commands.request import ALL_PARTS, Request
from service.commands.talk import ALL, BROKEN, REFUSED, Talk

Download = Callable[..., int]

EMPTY_ZIP = b"PK\5\6" + bytes(18)


@pytest.fixture
def asked() -> list[str]:
    """The orders that the service was asked for."""
    return []


@pytest.fixture
def download_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[str]) -> Download:
    """The exit code of a download of these orders, of which each is called what becomes of it."""

    async def fetch(request: Request, part: Partial, *_: object) -> Fetched:
        asked.append(request.order_id)
        raise {"new": NothingNew, "refused": Refused, "broken": Interrupted}[request.order_id]("So.")

    async def count(request: Request, talk: Talk) -> int:
        raise {"refused": Refused, "broken": Interrupted}[request.order_id]("So.")

    def run(*orders: str, part: str | None = None) -> int:
        query = {} if part is None else {"part": part}
        requests = [Request(Service("http://127.0.0.1:8000"), order, query) for order in orders]
        return download(requests, Output(str(tmp_path)), Talk(as_json=True))

    monkeypatch.setattr(download_command, "fetch", fetch)
    monkeypatch.setattr("service.commands.request._count_parts", count)
    return run


@pytest.mark.parametrize(
    ("orders", "code", "tried"),
    [
        (("new", "refused"), REFUSED, 2),
        (("new", "broken", "refused"), BROKEN, 2),
        (("refused", "broken"), REFUSED, 2),
        (("new", "new"), ALL, 2),
    ],
)
def test_the_exit_code_of_several_orders_is_the_highest(
    download_of: Download, asked: list[str], orders: tuple[str, ...], code: int, tried: int
) -> None:
    """Also where a connection that breaks ends them."""
    assert download_of(*orders) == code
    assert len(asked) == tried


def test_it_is_the_highest_too_where_the_parts_cannot_be_counted(download_of: Download) -> None:
    """As the first request of an order with `--part all` may break, too."""
    assert download_of("refused", "broken", part=ALL_PARTS) == REFUSED


def test_a_program_that_reads_no_further_changes_no_exit_code(
    monkeypatch: pytest.MonkeyPatch, download_of: Download, asked: list[str]
) -> None:
    """`download ... --json | head -1`: what is asked for are the ZIPs."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as left:
        monkeypatch.setattr(sys, "stdout", left)
        code = download_of("refused", "new", "new")
        monkeypatch.undo()

    assert (code, asked) == (REFUSED, ["refused", "new", "new"])


@pytest.mark.parametrize(
    ("there", "name"),
    [
        (None, "12 Harbour Lane.zip"),
        ("Autoenhance order 6f1c: 7 of 7 images", "12 Harbour Lane.zip"),
        ("Autoenhance orders 6f1c, 7a2d: 9 of 9 images", "12 Harbour Lane (2).zip"),
        ("Autoenhance order 7a2d: 7 of 7 images", "12 Harbour Lane (2).zip"),
        ("Somebody's own", "12 Harbour Lane.zip"),
    ],
)
def test_the_zip_of_another_order_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str | None, name: str
) -> None:
    """Given one of the same name in the folder, from an earlier run."""

    async def fetch(_: Request, part: Partial, *__: object) -> Fetched:
        await asyncio.to_thread(part.path.write_bytes, EMPTY_ZIP)
        return Fetched("12 Harbour Lane.zip", None)

    monkeypatch.setattr(download_command, "fetch", fetch)
    if there is not None:
        with zipfile.ZipFile(tmp_path / "12 Harbour Lane.zip", "w") as archive:
            archive.comment = there.encode()
    before = {path.name for path in tmp_path.iterdir()} - {name}

    download([Request(Service("http://127.0.0.1:8000"), "6F1C")], Output(str(tmp_path)), Talk(as_json=True))

    assert {path.name for path in tmp_path.iterdir()} == before | {name}
