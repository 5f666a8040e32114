"""Which archive a request for an order is given, and how it is sent. No service runs."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from service.api import downloads
from service.api.caller import CALLER, Caller
from service.api.downloads import _read, _resumed, _takes_ranges, require_version
from service.api.keys import ARCHIVES, DELIVERY, METRICS, NAMED, ORDERS, PRESETS, SETTINGS
from service.api.query import read_options
from service.archives.archive import Archive, State
from service.archives.delivery import DeliveryOptions
from service.archives.named import Named
from service.archives.options import Options
from service.archives.renditions import read_presets
from service.problems import (
    UPSTREAM_DOWN,
    InvalidParameter,
    NotConfigured,
    NothingNew,
    OrderNotFound,
    PrefetchRefused,
    Problem,
    RangeUnsafe,
    StillBuilding,
)
from service.reasons import Reason
from service.settings import Settings
from service.telemetry.metrics import CacheResult, Metrics
from tests.jobs.test_runner import add
from tests.jobs.test_runner import archive as building
from tests.support.samples import ORDER
from tests.support.transport import sample

ID, OTHER = "f" * 32, "e" * 32


class Scene:
    """An order's archives, and what was asked of them."""

    def __init__(self) -> None:
        self.resumable_ids = {ID}
        self.archive = building()
        self.named: Named | Exception | None = None
        self.answer: Problem | CacheResult = CacheResult.MISS
        self.stale_one: Archive | None = None
        self.sent: list[tuple[Archive, DeliveryOptions]] = []
        self.counted = 0
        self.noted: list[str] = []
        self.metrics = Metrics()

    async def resumable(self, archive_id: str, order_id: str, options: Options) -> Archive | None:
        assert order_id == ORDER
        return self.archive if archive_id in self.resumable_ids else None

    async def find(self, order_id: str, options: Options) -> Named | None:
        if isinstance(self.named, Exception):
            raise self.named
        return self.named

    async def add(self, order_id: str, options: Options, archive_id: str) -> bool:
        self.noted.append(archive_id)
        return True

    async def get_or_start(self, order_id: str, options: Options, caller: str) -> tuple[Archive, CacheResult]:
        assert (order_id, caller) == (ORDER, "address:127.0.0.1")
        if isinstance(self.answer, Problem):
            raise self.answer
        return self.archive, self.answer

    async def stale(self, order_id: str, options: Options) -> Archive | None:
        return self.stale_one

    async def get(self, order_id: str) -> None:
        assert isinstance(self.answer, Problem)
        raise self.answer

    async def deliver(self, request: web.Request, archive: Archive, options: DeliveryOptions) -> web.Response:
        self.sent.append((archive, options))
        return web.Response()

    def asked(
        self, query: str = "", *, method: str = "GET", caller: Caller | None = None, key: str = "key", **headers: str
    ) -> web.Request:
        app = web.Application()
        app[SETTINGS] = Settings(_env_file=None, autoenhance_api_key=cast(Any, key))
        app[PRESETS] = read_presets({})
        app[ARCHIVES] = app[NAMED] = app[DELIVERY] = app[ORDERS] = cast(Any, self)
        app[METRICS] = self.metrics
        transport = SimpleNamespace(get_extra_info=lambda *_: ("127.0.0.1", 9))
        request = make_mocked_request(
            method,
            f"/?{query}",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            app=app,
            match_info={"order_id": ORDER.upper()},
            transport=transport,
        )
        request[CALLER] = caller or Caller()
        return request


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()

    async def count(_: web.Request) -> None:
        made.counted += 1

    monkeypatch.setattr(downloads, "count", count)
    return made


ONLY, LAST, NONE = Named(ID, is_only=True), Named(ID, is_only=False), None
TAG = f'"{ID}"'


@pytest.mark.parametrize(
    ("headers", "named", "expected"),
    [
        ({}, ONLY, None),
        ({"If_Range": TAG}, ONLY, None),
        ({"Range": "bytes=5-"}, ONLY, ID),
        ({"Range": "bytes=0-"}, ONLY, ID),
        ({"Range": "bytes=5-"}, LAST, RangeUnsafe),
        ({"Range": "bytes=0-"}, LAST, RangeUnsafe),
        ({"Range": "bytes=-5"}, LAST, RangeUnsafe),
        ({"Range": "bytes=5-"}, NONE, RangeUnsafe),
        ({"Range": "bytes=-5"}, NONE, RangeUnsafe),
        ({"Range": "bytes=0-"}, NONE, None),
        ({"Range": "bytes=0-"}, Named(OTHER, is_only=True), None),
        ({"Range": "bytes=5-"}, Named(OTHER, is_only=True), RangeUnsafe),
        ({"Range": "bytes=5-"}, StillBuilding("Not known."), StillBuilding),
        ({"Range": "bytes=5-", "If_Range": TAG}, LAST, ID),
        ({"Range": "bytes=5-", "If_Range": f" {TAG}\t"}, StillBuilding("Not known."), ID),
        ({"Range": "bytes=5-", "If_Range": f'"{OTHER}"'}, ONLY, None),
        ({"Range": "bytes=5-", "If_Range": ID}, ONLY, None),
        ({"Range": "bytes=5-", "If_Range": f"W/{TAG}"}, ONLY, None),
        ({"Range": "bytes=5-", "If_Range": "Sat, 28 Nov 2026 10:00:00 GMT"}, ONLY, None),
        ({"Range": "bytes=5-6,9-"}, LAST, None),
        ({"Range": "pages=5-"}, LAST, None),
    ],
)
async def test_which_archive_is_gone_on_with(
    scene: Scene, headers: dict[str, str], named: Named | Exception | None, expected: object
) -> None:
    """The one that the caller has a part of; where that cannot be told, a part of another would be joined to it."""
    scene.named = named

    if isinstance(expected, type):
        with pytest.raises(expected):
            await _resumed(scene.asked(**headers), ORDER, Options())  # type: ignore[arg-type]
    else:
        found = await _resumed(scene.asked(**headers), ORDER, Options())  # type: ignore[arg-type]
        assert (found and found.id) == expected


@pytest.mark.parametrize(
    ("state", "failures", "strict", "is_resumed"),
    [
        (State.COMPLETE, 0, True, True),
        (State.COMPLETE, 1, True, False),
        (State.PARTIAL, 0, True, False),
        (State.BUILDING, 0, True, False),
        (State.PARTIAL, 1, False, True),
        (State.BUILDING, 0, False, True),
    ],
)
async def test_a_strict_request_goes_on_with_what_lacks_nothing(
    scene: Scene, state: State, failures: int, strict: bool, is_resumed: bool
) -> None:
    """Any other may go on with what it has."""
    for _ in range(failures):
        add(scene.archive, Reason.EXPIRED)
    scene.archive.state = state

    found = await _resumed(
        scene.asked(Range="bytes=5-", If_Range=TAG), ORDER, Options(on_failure="strict" if strict else "partial")
    )

    assert (found is scene.archive) is is_resumed


@pytest.mark.parametrize(
    ("named", "archive_id", "takes"),
    [
        (NONE, ID, True),
        (NONE, None, True),
        (ONLY, ID, True),
        (ONLY, None, True),
        (ONLY, OTHER, False),
        (LAST, ID, False),
        (LAST, None, False),
        (StillBuilding("Not known."), ID, False),
    ],
)
async def test_ranges_are_offered_where_they_would_be_honoured(
    scene: Scene, named: Named | Exception | None, archive_id: str | None, takes: bool
) -> None:
    """Of an address that names, and has named, one archive."""
    scene.named = named
    archive = None if archive_id is None else cast(Archive, SimpleNamespace(id=archive_id))

    assert await _takes_ranges(scene.asked(), archive, ORDER, Options()) is takes


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, None),
        ({"Range": "bytes=5-"}, InvalidParameter),
        ({"caller": Caller(by_link=True)}, InvalidParameter),
        ({"Sec_Purpose": "prefetch"}, PrefetchRefused),
        ({"method": "HEAD", "Range": "bytes=5-", "Sec_Purpose": "prefetch"}, None),
    ],
)
def test_who_may_have_images_made_anew(scene: Scene, given: dict[str, Any], problem: type[Problem] | None) -> None:
    """Not a part, not by a link, not ahead of a user; and HEAD begins nothing."""
    request = scene.asked("refresh=true", **given)

    if problem is None:
        order_id, options = _read(request)
        assert (order_id, options.refresh) == (ORDER, True)
    else:
        with pytest.raises(problem):
            _read(request)


def test_without_a_key_of_the_account_there_is_nothing_to_download(scene: Scene) -> None:
    """A 503 that says so."""
    with pytest.raises(NotConfigured):
        _read(scene.asked(key=""))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", None),
        ("format=webp", None),
        ("format=avif", "format"),
        ("format=jxl", "format"),
        ("rendition=web&rendition=small", "rendition"),
        ("rendition=web&rendition=print", None),
    ],
)
def test_a_format_needs_its_version_of_the_api(scene: Scene, query: str, name: str | None) -> None:
    """Told by the parameter that asks for it."""
    options = read_options(URL(f"/?{query}").query, read_presets({"small": {"format": "avif"}}))
    if name is None:
        require_version(scene.asked(), options)
        return
    with pytest.raises(InvalidParameter, match="2026-10-01") as refused:
        require_version(scene.asked(), options)
    assert refused.value.extra["parameter"] == name


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("on_failure=strict", {"strict": True}),
        ("delivery=complete", {"complete": True}),
        ("wait=true", {"waits": True}),
    ],
)
async def test_it_is_sent_as_it_was_asked_for(scene: Scene, query: str, options: dict[str, Any]) -> None:
    """And what its address names is noted when it is."""
    await downloads.download(scene.asked(query))

    ((archive, sent),) = scene.sent
    assert archive is scene.archive
    assert replace(sent, note_named=None) == DeliveryOptions(**options)
    assert sent.note_named is not None
    assert await sent.note_named(ID)
    assert (scene.noted, scene.counted) == ([ID], 1)
    assert sample(scene.metrics.registry, "batch_archive_cache_requests_total", result=CacheResult.MISS) == 1


async def test_a_resumed_download_counts_against_no_limit(scene: Scene) -> None:
    """It is a hit."""
    await downloads.download(scene.asked(Range="bytes=5-", If_Range=TAG))

    assert (scene.counted, scene.sent[0][0]) == (0, scene.archive)
    assert sample(scene.metrics.registry, "batch_archive_cache_requests_total", result=CacheResult.HIT) == 1


@pytest.mark.parametrize("problem", [*UPSTREAM_DOWN, OrderNotFound])
@pytest.mark.parametrize("has_older", [True, False])
async def test_an_older_archive_is_better_than_nothing(scene: Scene, problem: type[Problem], has_older: bool) -> None:
    """While Autoenhance is down, and marked; not for an order that is not there."""
    scene.answer, scene.stale_one = problem(), building() if has_older else None

    if not has_older or problem is OrderNotFound:
        for handler in (downloads.download, downloads.describe):
            with pytest.raises(problem):
                await handler(scene.asked())
        return
    head = await downloads.describe(scene.asked(method="HEAD"))
    await downloads.download(scene.asked())

    assert [(archive, sent.stale) for archive, sent in scene.sent] == [(scene.stale_one, True)]
    assert head.headers["X-Archive-Stale"] == "true"


async def test_nothing_new_is_no_content(scene: Scene) -> None:
    """And nothing is sent."""
    scene.answer = NothingNew()

    answer = await downloads.download(scene.asked(f"since={ID}"))
    assert (answer.status, answer.headers["Cache-Control"]) == (204, "private, no-transform")
    assert scene.sent == []


async def test_only_what_is_settled_has_a_length(scene: Scene) -> None:
    """A client would take the part that is there for the whole."""
    before = downloads.head_of(scene.asked(method="HEAD"), scene.archive)
    scene.archive.settle(State.COMPLETE, "")
    after = downloads.head_of(scene.asked(method="HEAD"), scene.archive)

    assert (before.content_length, after.content_length) == (None, scene.archive.length)
    assert downloads.head_of(scene.asked(method="HEAD", If_None_Match=TAG), scene.archive).status == 304
