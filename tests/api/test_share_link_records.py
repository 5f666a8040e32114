"""Where share links are kept: the same promises in SQLite and in S3."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from obstore.store import MemoryStore

from service.api.share_links import (
    SCHEMA,
    LocalShareLinks,
    SharedImage,
    ShareLink,
    ShareLinks,
    is_token_of,
    link_id_of,
    new_token,
)
from service.cluster.link import Unavailable
from service.cluster.objects import Objects
from service.cluster.share_links import ClusterShareLinks
from service.database import Database
from service.problems import LinksUnavailable, TooManyLinks
from service.telemetry.metrics import Metrics
from service.telemetry.scrub import Scrubber

DAY = 24 * 3600.0


@pytest.fixture(params=["sqlite", "s3"])
async def links(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShareLinks]:
    """An empty place for links."""
    if request.param == "s3":
        yield ClusterShareLinks(Objects(MemoryStore(), Metrics()))
        return
    database = await Database.open(tmp_path, [SCHEMA])
    yield LocalShareLinks(database)
    await database.close()


def made(maker: str = "caller:studio", *, age: float = 0, lasts: float = DAY) -> ShareLink:
    """A link made `age` seconds ago."""
    with clock(time.time() - age):
        token = new_token()
    return ShareLink(
        link_id=link_id_of(token) or "",
        token=token,
        maker=maker,
        order_id="6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11",
        order_name="12 Harbour Lane",
        query="preview=false",
        images=(SharedImage(image_id="a", name="kitchen.jpg"),),
        created=time.time() - age,
        expires=time.time() - age + lasts,
    )


@contextmanager
def clock(moment: float) -> Iterator[None]:
    """The clock stands at a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: moment)
        yield


async def test_a_link_is_kept_as_it_was_made(links: ShareLinks) -> None:
    """Every word of it."""
    link = made()

    await links.add(link)

    assert await links.get(link.link_id) == link
    assert await links.get("0" * 32) is None


async def test_a_link_that_has_ended_is_not_there(links: ShareLinks) -> None:
    """Neither by its id nor in a list."""
    link = made(age=100, lasts=99)

    await links.add(link)

    assert await links.get(link.link_id) is None
    assert list(await links.find(None, "", 10)) == []


async def test_a_revoked_link_is_not_there(links: ShareLinks) -> None:
    """From the moment on; to revoke it again changes nothing."""
    link, other = made(), made()
    await links.add(link)
    await links.add(other)

    await links.revoke(link)
    await links.revoke(link)

    assert await links.get(link.link_id) is None
    assert list(await links.find("caller:studio", "", 10)) == [other]


async def test_links_are_found_by_maker_newest_first(links: ShareLinks) -> None:
    """Page by page; those that have ended leave no gap in a page."""
    mine = [made(age=age) for age in (30, 20, 10, 0)]
    ended = [made(age=25 + number, lasts=5) for number in range(3)]
    for link in (*mine, *ended, made("caller:other"), made("caller:studio 2")):
        await links.add(link)

    first = list(await links.find("caller:studio", "", 2))
    rest = list(await links.find("caller:studio", first[-1].link_id, 10))

    assert first + rest == mine[::-1]
    assert len(await links.find(None, "", 10)) == 6


async def test_a_revocation_holds_whoever_else_revokes(links: ShareLinks) -> None:
    """At the same moment, at several instances."""
    link = made()
    await links.add(link)

    await asyncio.gather(*(links.revoke(link) for _ in range(5)))

    assert await links.get(link.link_id) is None


@pytest.mark.parametrize("act", ["add", "revoke"])
async def test_what_was_promised_outlives_a_power_cut(act: str) -> None:
    """It is on the disk itself when the caller is told: that there is a link, and that there is none."""
    asked: list[bool] = []

    async def run(_: object, *, durable: bool = False) -> None:
        asked.append(durable)

    await getattr(LocalShareLinks(cast(Database, SimpleNamespace(run=run))), act)(made())

    assert asked == [True]


async def test_what_cannot_be_told_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With S3 away a link is not unknown: whoever asks is to come again."""
    objects = Objects(MemoryStore(), Metrics())
    links = ClusterShareLinks(objects)
    link = made()
    await links.add(link)

    async def away(*_: object) -> None:
        raise Unavailable("s3")

    monkeypatch.setattr(objects.link, "call", away)

    for asked in (links.get(link.link_id), links.find(None, "", 5), links.revoke(link), links.add(made())):
        with pytest.raises(LinksUnavailable):
            await asked


async def test_what_cannot_be_listed_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 goes away between the two writes: what opens something can be found, and revoked."""
    objects = Objects(MemoryStore(), Metrics())
    links, link = ClusterShareLinks(objects), made()
    really_write, written = objects.write, list[str]()

    async def write(name: str, body: bytes) -> str:
        if written:
            raise Unavailable("s3")
        written.append(name)
        return await really_write(name, body)

    monkeypatch.setattr(objects, "write", write)
    with pytest.raises(LinksUnavailable):
        await links.add(link)

    assert await links.get(link.link_id) is None


def test_tokens_are_never_the_same_and_tell_nothing_of_their_record() -> None:
    """160 bits of chance; the record's id does not lead back to them."""
    tokens = {new_token() for _ in range(1000)}

    assert len(tokens) == 1000
    assert len({link_id_of(token) for token in tokens}) == 1000
    assert all(len(token) == 32 and token[8:] not in str(link_id_of(token)) for token in tokens)
    link = made()
    assert is_token_of(link, link.token)
    assert not is_token_of(link, link.token.swapcase())


def test_tokens_are_masked_in_what_leaves_the_process() -> None:
    """In paths and addresses, in logs as in error reports."""
    token = new_token()

    scrubbed = Scrubber()(f'GET /s/{token}/images/a "https://photos.example/batch/s/{token}?x" and /s/{token}')

    assert token not in scrubbed
    assert scrubbed.startswith("GET /s/***/images/a")


async def test_a_page_has_no_more_than_is_asked_for(links: ShareLinks) -> None:
    """Also where it is filled up because some of its links do not work any more."""
    known = [made(age=number) for number in range(4)]
    for link in known:
        await links.add(link)
    await links.revoke(known[0])

    found = [await links.find(maker, "", 2) for maker in (None, "caller:studio")]

    assert [[link.link_id for link in page] for page in found] == [[link.link_id for link in known[1:3]]] * 2


async def test_a_maker_has_so_many_links_at_most(links: ShareLinks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of others do not count, nor what is so old that it has ended."""
    for module in ("service.api.share_links", "service.cluster.share_links"):
        monkeypatch.setattr(f"{module}.MAX_LINKS", 2)
    for link in (made(age=31 * DAY), made(), made("caller:other"), made()):
        await links.add(link)

    with pytest.raises(TooManyLinks):
        await links.add(made())

    await links.add(made("caller:other"))


async def test_links_that_have_ended_are_removed_when_another_is_made(tmp_path: Path) -> None:
    """What nobody can open any more takes no room."""
    database = await Database.open(tmp_path, [SCHEMA])
    links, ended, new = LocalShareLinks(database), made(age=2 * DAY, lasts=DAY), made()

    await links.add(ended)
    await links.add(new)

    rows = await database.run(lambda connection: connection.execute("SELECT link_id FROM share_links").fetchall())
    assert rows == [(new.link_id,)]
    await database.close()
