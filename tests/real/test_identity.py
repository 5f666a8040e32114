"""What makes an image the same image: nothing unknown buys it again, every mark of change brings the new version."""

import time
import uuid
from typing import Any

import pytest
from aiohttp import web

from tests.support.client import Service, StartService
from tests.support.samples import ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

PATH = f"/v1/orders/{ORDER}/images"


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """It looks at the order for every request."""
    return await start_service(order_freshness=0)


def _number() -> int:
    return uuid.uuid4().int % 1_000_000


def _text() -> str:
    return f"https://cdn.example/x.jpg?X-Amz-Signature={uuid.uuid4().hex}"


VOLATILE: dict[str, dict[str, Any]] = {
    "a signed address": {"preview_url": _text},
    "several signed addresses": {"enhanced_url": _text, "urls": lambda: {"small": _text(), "large": _text()}},
    "a counter": {"views": _number},
    "a time of access": {"last_accessed": _number},
    "an end": {"expires_at": lambda: f"2026-12-01T10:00:{_number() % 60:02d}"},
    "an account": {"account": lambda: {"credits_left": _number(), "owner": {"seen": _text()}}},
    "a list": {"events": lambda: [_text() for _ in range(_number() % 5 + 1)]},
    "a name that nobody knows": {},
    "what people do with it": {"rating": _number, "metadata": lambda: {"seen": _number()}, "scene": _text},
}


@pytest.mark.parametrize("fields", VOLATILE.values(), ids=VOLATILE)
async def test_what_nobody_knows_buys_nothing_again(
    upstream: FakeUpstream, service: Service, fields: dict[str, Any]
) -> None:
    """Fields of images and of the order change at every look, some come and go: each image is bought once."""

    def now() -> dict[str, Any]:
        changing = {name: value() for name, value in fields.items()} or {uuid.uuid4().hex: _number()}
        return {name: value for name, value in changing.items() if _number() % 4}

    async def look(_: web.Request) -> web.StreamResponse:
        images = [photo(image_id, **now()) for image_id in "ab"]
        return web.json_response(order(images, **now()))

    upstream.orders[ORDER] = look
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}

    answers = [await service.download(preview="false") for _ in range(4)]

    assert [answer.members for answer in answers] == [{"a.jpg": jpeg(1), "b.jpg": jpeg(2)}] * 4
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert (upstream.calls("a"), upstream.calls("b")) == (1, 1)


MARKS: dict[str, tuple[Any, Any]] = {
    "updated_at": ("2026-03-02T09:15:04", "2026-03-02T09:15:05"),
    "last_updated_at": (1_772_442_904, 1_772_442_905),
    "version": (1, 2),
    "date_added": (1_772_442_904, 1_772_529_304),
    "status_reason": ("Enhanced", "Enhanced again with another sky"),
}


@pytest.mark.parametrize("mark", MARKS)
async def test_a_mark_of_change_brings_the_new_version(upstream: FakeUpstream, service: Service, mark: str) -> None:
    """Also a mark that the record did not have before, or has no more; the other image stays."""
    before, after = MARKS[mark]
    upstream.orders[ORDER] = [order([photo("a", **{mark: value}), "b"]) for value in (before, before, after)]
    upstream.images |= {"a": [jpeg(1), jpeg(3)], "b": jpeg(2)}

    seen = [(await service.download()).members["a.jpg"] for _ in range(3)]

    assert seen == [jpeg(1), jpeg(1), jpeg(3)]
    assert upstream.calls("b") == 1


@pytest.mark.parametrize("mark", MARKS)
async def test_a_change_that_comes_with_the_purchase_is_none(
    upstream: FakeUpstream, service: Service, mark: str
) -> None:
    """`downloaded` turned true and a mark moved with it: the image was bought, not made anew. The next move counts."""
    before, after = MARKS[mark]
    later = {"updated_at": "2027-01-01T00:00:00"}
    upstream.orders[ORDER] = [
        order([photo("a", downloaded=False, **{mark: before})]),
        order([photo("a", downloaded=True, **{mark: after})]),
        order([photo("a", downloaded=True, **{mark: after})]),
        order([photo("a", downloaded=True, **{mark: after} | later)]),
    ]
    upstream.images["a"] = [jpeg(1), jpeg(3)]

    seen = [(await service.download(preview="false")).members["a.jpg"] for _ in range(4)]

    assert seen == [jpeg(1), jpeg(1), jpeg(1), jpeg(3)]


async def test_a_date_in_another_form_is_the_same_date(upstream: FakeUpstream, service: Service) -> None:
    """Seconds, milliseconds, ISO with and without a zone: one moment."""
    forms = [1_772_442_904, 1_772_442_904_000, "2026-03-02T09:15:04", "2026-03-02T10:15:04+01:00"]
    upstream.orders[ORDER] = [order([photo("a", date_added=form, updated_at=form)]) for form in forms]
    upstream.images["a"] = jpeg(1)

    for _ in forms:
        assert (await service.download(preview="false")).status == 200

    assert upstream.calls("a") == 1


class TestRefresh:
    """`refresh=true` asks for the images anew."""

    async def test_it_goes_past_what_is_stored(self, upstream: FakeUpstream, service: Service) -> None:
        """An image that was made anew without any mark of it; who asks without it has the new one afterwards too."""
        upstream.orders[ORDER] = order(["a", "b"])
        upstream.images |= {"a": [jpeg(1), jpeg(3)], "b": [jpeg(2), jpeg(4)]}

        seen = [(await service.ask(PATH, params=query)).members for query in ({}, {"refresh": "true"}, {})]

        old, new = {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}, {"a.jpg": jpeg(3), "b.jpg": jpeg(4)}
        assert seen == [old, new, new]
        assert upstream.image_calls == 4

    @pytest.mark.parametrize("wait", ["false", "true"])
    async def test_what_was_bought_a_moment_ago_is_not_bought_again(
        self, upstream: FakeUpstream, start_service: StartService, wait: str
    ) -> None:
        """The order is looked at anew too: it says what is bought by now."""
        service = await start_service(max_credits_per_day=1)
        upstream.orders[ORDER] = [order([photo("a")]), order([photo("a", downloaded=True)])]
        upstream.images["a"] = [jpeg(1), jpeg(3)]

        first = await service.download(preview="false")
        again = await service.download(preview="false", refresh="true", wait=wait)

        assert (first.status, again.status) == (200, 200)
        assert again.members == {"a.jpg": jpeg(3)}

    async def test_equal_ones_are_one_for_ten_seconds(
        self, upstream: FakeUpstream, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Within them the second gets what the first has fetched; after them it fetches anew."""
        upstream.orders[ORDER] = order(["a"])
        upstream.images["a"] = [jpeg(number) for number in range(1, 9)]
        right = time.time

        calls = []
        for later in (0.0, 5.0, 11.0):
            monkeypatch.setattr(time, "time", lambda later=later: right() + later)
            answer = await service.download(refresh="true")
            assert answer.status == 200
            calls.append(upstream.calls("a"))

        assert calls == [1, 1, 2]

    @pytest.mark.parametrize("asked", ["bytes=0-", "bytes=100-", "bytes=-5"])
    async def test_not_with_a_range(self, upstream: FakeUpstream, service: Service, asked: str) -> None:
        """A part of what the caller has would not fit."""
        upstream.orders[ORDER] = order(["a"])
        upstream.images["a"] = jpeg(1)
        await service.download()

        answer = await service.download(headers={"Range": asked}, refresh="true")

        assert (answer.status, answer.problem["parameter"]) == (400, "refresh")
        assert upstream.calls("a") == 1

    @pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose", "X-Moz"])
    @pytest.mark.parametrize("preview", ["true", "false"])
    async def test_not_ahead(self, upstream: FakeUpstream, service: Service, header: str, preview: str) -> None:
        """What a browser fetches before anybody asked for it refreshes nothing."""
        upstream.orders[ORDER] = order(["a"])
        upstream.images["a"] = jpeg(1)

        answer = await service.download(headers={header: "prefetch"}, refresh="true", preview=preview)

        assert answer.status == 403
        assert upstream.calls("a") == 0

    async def test_not_by_a_link(self, upstream: FakeUpstream, start_service: StartService) -> None:
        """Whoever has a link downloads what there is."""
        key = {"X-API-Key": "a-key-of-somebody-long-enough"}
        service = await start_service(service_api_key=key["X-API-Key"])
        upstream.orders[ORDER] = order(["a"])
        upstream.images["a"] = jpeg(1)
        async with service.session.post(
            f"{service.url}/v1/links", json={"path": f"{PATH}?refresh=true"}, headers=key
        ) as made:
            refused_at_once, link = made.status == 400, (await made.json()).get("url")

        if not refused_at_once:
            async with service.session.get(link if link.startswith("http") else service.url + link) as answer:
                assert answer.status == 400

        assert upstream.calls("a") == 0
