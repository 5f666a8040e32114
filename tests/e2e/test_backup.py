"""Backup and restore: stop, copy the data directory, start elsewhere."""

import asyncio
import shutil
from pathlib import Path

from tests.support.client import StartService
from tests.support.jobs import ended, submit
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream


async def test_a_copy_of_the_data_directory_serves_elsewhere(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """The same archive by its id, the same job with its result, and no image is fetched again."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    before = await start_service(data_dir=tmp_path / "here")
    first = await before.download()
    job = await ended(before, await submit(before))
    await before.stop()
    await asyncio.to_thread(shutil.copytree, tmp_path / "here", tmp_path / "elsewhere")
    await asyncio.to_thread(shutil.rmtree, tmp_path / "here")

    after = await start_service(data_dir=tmp_path / "elsewhere")
    again = await after.ask(f"/v1/archives/{first.headers['X-Archive-Id']}")
    result = await after.ask(f"/v1/jobs/{job['job_id']}/download")

    assert (again.status, again.body) == (200, first.body)
    assert result.body == first.body
    assert upstream.image_calls == 2


async def test_a_copy_without_its_images_fetches_them_again(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """The database alone is enough for jobs and ids; images that Autoenhance still has the same are had anew."""
    upstream.orders[ORDER] = order(["a"])
    upstream.images["a"] = jpeg(1)
    before = await start_service(data_dir=tmp_path / "here")
    first = await before.download()
    await before.stop()
    await asyncio.to_thread(
        shutil.copytree, tmp_path / "here", tmp_path / "elsewhere", ignore=shutil.ignore_patterns("images")
    )

    after = await start_service(data_dir=tmp_path / "elsewhere")
    again = await after.ask(f"/v1/archives/{first.headers['X-Archive-Id']}")

    assert (again.status, again.body) == (200, first.body)
    assert upstream.image_calls == 2
