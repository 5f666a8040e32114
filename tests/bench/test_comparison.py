"""The rivals hand out what the service does, so that comparing them says something."""

import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.bench import comparison, rivals
from tests.bench.upstream import PROGRAM, Speed, Upstream, open_upstream
from tests.support.tools import require_tool


@pytest.fixture
async def upstream(tmp_path: Path) -> AsyncIterator[Upstream]:
    """nginx with orders."""
    require_tool(PROGRAM)
    async with open_upstream(tmp_path, Speed(0.01, 0.01)) as running:
        yield running


async def test_the_rivals_that_make_a_zip_deliver_every_image(upstream: Upstream) -> None:
    """Their archives hold the images of the order, byte for byte."""
    order = upstream.order(3, 20_000)
    images = sorted(file.read_bytes() for file in (upstream.folder / "assets").iterdir())

    for name in ("one by one", "buffered"):
        async with (
            rivals.running(name, upstream.api) as (_, url),
            ClientSession() as session,
            session.get(url + order.path) as answer,
        ):
            body = await answer.read()
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            assert sorted(archive.read(member) for member in archive.namelist()) == images


async def test_each_party_is_measured_in_each_round(upstream: Upstream) -> None:
    """Every figure was taken, and the table names all parties."""
    runs = await comparison.compare(upstream, upstream.order(2, 20_000), rounds=2)

    assert set(comparison.PARTIES) < set(runs)
    assert all(len(these) == 2 for these in runs.values())
    assert all(run.whole >= run.first_byte > 0 for name in comparison.PARTIES for run in runs[name])
    text = comparison.table("two images", runs)
    assert all(name in text for name in runs)
