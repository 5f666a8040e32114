"""What is on disk outlives the process."""

from pathlib import Path

import pytest

from tests.e2e.client import StartService
from tests.fakes.samples import ORDER, jpeg, order
from tests.fakes.upstream import FakeUpstream


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
