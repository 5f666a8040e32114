"""What is on disk outlives the process."""

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from service.images.blobs import Blob
from service.images.store import ImageStore
from tests.support.client import TIMEOUT, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


@pytest.fixture
def data_dir(tmp_path: Path, upstream: FakeUpstream) -> Path:
    """A directory for two services in turn; upstream has an order of two images, one of which fails once."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    return tmp_path / "kept"


async def test_a_complete_archive_is_served_by_the_next_process(
    upstream: FakeUpstream, start_service: StartService, data_dir: Path
) -> None:
    """The same order, the same bytes and tag, and no image is fetched again."""
    before = await start_service(data_dir=data_dir)
    first = await before.download()
    await before.stop()

    after = await start_service(data_dir=data_dir)
    second = await after.download()

    assert (second.body, second.headers["ETag"]) == (first.body, first.headers["ETag"])
    assert upstream.image_calls == 2


async def test_an_archive_id_is_known_to_the_next_process(
    upstream: FakeUpstream, start_service: StartService, data_dir: Path
) -> None:
    """A download that a restart broke is resumed, also of a partial archive."""
    upstream.images["b"] = 404
    before = await start_service(data_dir=data_dir)
    first = await before.download()
    await before.stop()

    after = await start_service(data_dir=data_dir)
    rest = await after.ask(f"/v1/archives/{first.headers['X-Archive-Id']}", headers={"Range": "bytes=500-"})

    assert (rest.status, rest.body) == (206, first.body[500:])


async def test_good_images_of_a_partial_archive_are_kept(
    upstream: FakeUpstream, start_service: StartService, data_dir: Path
) -> None:
    """After a restart, too, only what failed is fetched."""
    upstream.images["b"] = [404, jpeg(2)]
    before = await start_service(data_dir=data_dir)
    await before.download()
    await before.stop()

    after = await start_service(data_dir=data_dir)
    answer = await after.download()

    assert answer.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert upstream.calls("a") == 1


async def test_two_callers_continue_an_interrupted_build_once(
    upstream: FakeUpstream, start_service: StartService, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is still looking at the stored files, as after a boot, when the other has the whole archive."""
    gate = upstream.hold("b")
    before = await start_service(data_dir=data_dir)
    async with before.request(f"/v1/orders/{ORDER}/images"):
        await before.stop()
    gate.set()
    look, looking, go_on = ImageStore.missing, asyncio.Event(), asyncio.Event()

    async def look_slowly(store: ImageStore, blobs: Iterable[Blob]) -> set[str]:
        lost = await look(store, wanted := list(blobs))
        if wanted and not looking.is_set():
            looking.set()
            await go_on.wait()
        return lost

    monkeypatch.setattr(ImageStore, "missing", look_slowly)
    after = await start_service(data_dir=data_dir)
    slow = asyncio.ensure_future(after.download())
    async with asyncio.timeout(TIMEOUT):
        await looking.wait()

    quick = await after.download()
    go_on.set()

    assert (await slow).body == quick.body
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("build ")]
    again = await after.ask(f"/v1/archives/{quick.headers['X-Archive-Id']}")
    assert (again.status, again.body) == (200, quick.body)


async def test_nothing_is_added_behind_a_report(
    upstream: FakeUpstream, start_service: StartService, data_dir: Path
) -> None:
    """Died between report and end: the report could be wrong by now, so the archive is gone, and the next one whole."""
    upstream.images["b"] = [404, jpeg(2)]
    before = await start_service(data_dir=data_dir)
    cut = await before.download()
    await before.stop()
    with closing(sqlite3.connect(data_dir / "batch.sqlite3")) as database, database:
        database.execute("UPDATE archives SET state = 'building', comment = NULL, settled = NULL")
        database.execute("DELETE FROM results")

    after = await start_service(data_dir=data_dir)
    whole = await after.download()
    rest = await after.ask(f"/v1/archives/{cut.headers['X-Archive-Id']}", headers={"Range": "bytes=500-"})

    assert whole.members == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert (rest.status, rest.problem["code"]) == (410, "archive_gone")
