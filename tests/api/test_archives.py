"""Archives by their id: what begins one that was interrupted, and where its images are found. No service runs."""

import json
import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import archives
from service.api.keys import ARCHIVES, DELIVERY, SETTINGS
from service.problems import ArchiveNotFound, PrefetchRefused
from service.settings import Settings
from service.upstream.models import Rendition
from tests.support.samples import ORDER

ID = "0f0be2aed9df4adc84e0e913b1e03013"


def asked(
    archive: Any,
    done: list[Any],
    archive_id: str = ID,
    *,
    rendition: Rendition = Rendition(),  # noqa: B008  # it is frozen
    **headers: str,
) -> web.Request:
    """A request for an archive, below a path. `done`: how it was looked for, and what was sent."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, base_path="/batch")

    async def by_id(found: str, *, begin: bool) -> Any:
        done.append((found, begin))
        return archive

    async def renditions_of(_: Any) -> dict[str, Rendition]:
        return {"": rendition, "small": Rendition(max_width=480)}

    async def deliver(_: web.Request, found: Any, __: Any) -> web.Response:
        done.append(found)
        return web.Response()

    app[ARCHIVES] = cast(Any, SimpleNamespace(by_id=by_id, renditions_of=renditions_of))
    app[DELIVERY] = cast(Any, SimpleNamespace(deliver=deliver))
    return make_mocked_request("GET", "/", headers=headers, app=app, match_info={"archive_id": archive_id})


def result(image_id: str, rendition: str | None) -> Any:
    return SimpleNamespace(image_id=image_id, rendition=rendition, line=lambda: {"image_id": image_id})


ARCHIVE = SimpleNamespace(
    id=ID,
    order_of=lambda _: ORDER,
    results=[result("a", None), result("b/c", "small"), result("d", "original")],
    summary=lambda: {"total": 3},
    unlisted=None,
)


async def test_only_its_bytes_begin_what_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only looks at it buys nothing."""
    done: list[Any] = []
    monkeypatch.setattr(archives, "head_of", lambda *_: web.Response())

    for handler in (archives.download, archives.describe, archives.report):
        await handler(asked(ARCHIVE, done))

    assert done == [(ID, True), ARCHIVE, (ID, False), (ID, False)]


@pytest.mark.parametrize(
    ("rendition", "headers", "is_refused"),
    [
        (Rendition(preview=False), {"Purpose": "prefetch"}, True),
        (Rendition(preview=False), {}, False),
        (Rendition(), {"Purpose": "prefetch"}, False),
        (Rendition(preview=False, dev_mode=True), {"Purpose": "prefetch"}, False),
    ],
)
async def test_a_browser_that_fetches_ahead_does_not_go_on_buying(
    rendition: Rendition, headers: dict[str, str], is_refused: bool
) -> None:
    """Nor does it fetch again what was removed of a settled archive."""
    done: list[Any] = []
    archive = SimpleNamespace()

    with pytest.raises(PrefetchRefused) if is_refused else nullcontext():
        await archives.download(asked(archive, done, rendition=rendition, **headers))

    assert (archive in done, (ID, True) in done) == (not is_refused, not is_refused)


async def test_a_report_says_where_each_image_is_found() -> None:
    """In its rendition, below the path that the caller asks by; an unaltered photo is in the ZIP alone."""
    answer = await archives.report(asked(ARCHIVE, []))

    document = json.loads(cast(bytes, answer.body))
    images = f"/batch/v1/orders/{ORDER}/images"
    assert [line["link"] for line in document["images"]] == [f"{images}/a", f"{images}/b%2Fc?max_width=480", None]
    assert {line["order_id"] for line in document["images"]} == {ORDER}
    assert (document["archive_id"], document["total"]) == (ID, 3)
    assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(("many", "thread"), [(3, "MainThread"), (2, "computing_0")])
async def test_a_report_on_many_images_is_made_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, many: int, thread: str
) -> None:
    """Its JSON included, and as the archive was when it was asked for: its build may add to it meanwhile."""
    threads, really_dump = [], json.dumps
    results = [result("a", None), *ARCHIVE.results[1:]]

    def line() -> dict[str, str]:
        threads.append(threading.current_thread().name)
        results.append(result("late", None))
        return {"image_id": "a"}

    results[0].line = line

    def dumps(document: Any) -> str:
        threads.append(threading.current_thread().name)
        return really_dump(document)

    monkeypatch.setattr(archives, "MANY_IMAGES", many)
    monkeypatch.setattr(archives, "json", SimpleNamespace(dumps=dumps))
    archive = SimpleNamespace(**(vars(ARCHIVE) | {"results": results}))

    answer = await archives.report(asked(archive, []))

    assert threads == 2 * [thread]
    assert [line["image_id"] for line in json.loads(cast(bytes, answer.body))["images"]] == ["a", "b/c", "d"]


@pytest.mark.parametrize("archive_id", [ID[:-1], f"{ID}0", ID.upper(), "..", ""])
async def test_what_cannot_be_an_id_is_not_looked_for(archive_id: str) -> None:
    """There is no such archive."""
    done: list[Any] = []

    with pytest.raises(ArchiveNotFound):
        await archives.download(asked(ARCHIVE, done, archive_id))

    assert done == []
