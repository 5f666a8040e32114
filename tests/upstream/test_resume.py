"""A body that broke off is taken up again, and no two versions of an image are ever put together."""

import asyncio
import gzip

import pytest
from aiohttp import web

from service.reasons import Reason
from tests.support.samples import jpeg, png
from tests.support.transport import MemoryBody, Parts, download, missing
from tests.support.upstream import FakeUpstream, Reply


class TestResume:
    async def test_a_broken_body_is_taken_up_where_it_broke(self, upstream: FakeUpstream, parts: Parts) -> None:
        """With the entity tag that guards it; no byte is written twice."""
        upstream.images["a"] = [Reply(body=jpeg(), etag='"v1"', cut_after=700), Reply(body=jpeg(), etag='"v1"')]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        first, second = upstream.requests("a")
        assert "Range" not in first.headers
        assert (second.headers["Range"], second.headers["If-Range"]) == ("bytes=700-", '"v1"')
        assert (outcome, bytes(body.content), body.restarts) == (("jpg", 2), jpeg(), 0)

    async def test_it_may_break_more_than_once(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Each part goes on after the last."""

        async def rest_in_part(request: web.Request) -> web.StreamResponse:
            assert request.headers["Range"] == "bytes=700-"
            headers = {"Content-Range": "bytes 700-1999/2000", "ETag": '"v1"'}
            response = web.StreamResponse(status=206, headers=headers)
            response.content_length = 1_300
            await response.prepare(request)
            await response.write(jpeg()[700:1_200])
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.close()
            return response

        upstream.images["a"] = [
            Reply(body=jpeg(), etag='"v1"', cut_after=700),
            rest_in_part,
            Reply(body=jpeg(), etag='"v1"'),
        ]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert upstream.requests("a")[2].headers["Range"] == "bytes=1200-"
        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg())

    @pytest.mark.parametrize("etag", [None, 'W/"v1"'])
    async def test_without_a_strong_tag_it_is_fetched_again(
        self, upstream: FakeUpstream, parts: Parts, etag: str | None
    ) -> None:
        """From the start; what was there is forgotten."""
        headers = {"ETag": etag} if etag else {}
        upstream.images["a"] = [Reply(body=jpeg(1), headers=headers, cut_after=700), Reply(body=jpeg(2))]
        body = MemoryBody()

        await download(parts, body=body)

        assert "Range" not in upstream.requests("a")[1].headers
        assert (bytes(body.content), body.restarts) == (jpeg(2), 1)

    async def test_an_image_that_changed_meanwhile_is_fetched_whole(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Two halves of different pictures are never put together."""
        upstream.images["a"] = [Reply(body=jpeg(1), etag='"v1"', cut_after=700), Reply(body=png(2), etag='"v2"')]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert (outcome, bytes(body.content), body.restarts) == (("png", 2), png(2), 1)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Range": "bytes 0-1299/2000", "ETag": '"v1"'},
            {"Content-Range": "bytes 701-1999/2000", "ETag": '"v1"'},
            {"Content-Range": "bytes 700-1999/2000", "ETag": '"v2"'},
            {"Content-Range": "items 700-1999/2000", "ETag": '"v1"'},
            {"Content-Range": "bytes 700-1999/3000", "ETag": '"v1"'},
            {"ETag": '"v1"'},
        ],
        ids=str,
    )
    async def test_a_part_that_does_not_fit_is_refused(
        self, upstream: FakeUpstream, parts: Parts, headers: dict[str, str]
    ) -> None:
        """Another place, another version, or no word about it; the next attempt asks for the whole."""
        upstream.images["a"] = [
            Reply(body=jpeg(), etag='"v1"', cut_after=700),
            Reply(body=b"\x00" * 1_300, status=206, headers=headers),
            Reply(body=jpeg()),
        ]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert "Range" not in upstream.requests("a")[2].headers
        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg())

    async def test_of_a_rest_without_a_total_the_first_announcement_decides(
        self, upstream: FakeUpstream, parts: Parts
    ) -> None:
        """`bytes a-b/*` does not say whether b is the end: a part of the rest is not taken for all of it."""
        headers = {"Content-Range": "bytes 700-999/*", "ETag": '"v1"'}
        upstream.images["a"] = [
            Reply(body=jpeg(), etag='"v1"', cut_after=700),
            Reply(body=jpeg()[700:1_000], status=206, headers=headers),
            Reply(body=jpeg()),
        ]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg())

    async def test_a_rest_of_an_unknown_whole_is_refused(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Where nobody ever said how long the image is, nobody can tell whether a part is the rest."""
        headers = {"Content-Range": "bytes 700-1999/*", "ETag": '"v1"'}
        upstream.images["a"] = [
            Reply(body=jpeg(), etag='"v1"', chunked=True, cut_after=700),
            Reply(body=jpeg()[700:], status=206, headers=headers),
            Reply(body=jpeg()),
        ]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert upstream.requests("a")[1].headers["Range"] == "bytes=700-"
        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg())

    async def test_a_rest_that_is_not_to_be_had_is_no_refusal(self, upstream: FakeUpstream, parts: Parts) -> None:
        """After a 416 the whole is asked for."""
        upstream.images["a"] = [Reply(body=jpeg(), etag='"v1"', cut_after=700), Reply(status=416), Reply(body=jpeg())]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert "Range" not in upstream.requests("a")[2].headers
        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg())

    async def test_a_416_to_the_whole_is_one(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Who asked for no range and is refused one is refused, once."""
        upstream.images["a"] = 416

        assert await missing(parts) == (Reason.REJECTED, 1)

    async def test_a_tag_guards_only_what_was_written_under_it(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A second version that broke off before its first bytes counted leaves the first one's: not to be joined."""
        second = Reply(body=jpeg(2), etag='"v2"')
        upstream.images["a"] = [
            Reply(body=jpeg(1), etag='"v1"', cut_after=700),
            Reply(body=jpeg(2), etag='"v2"', cut_after=4),
            second,
        ]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert "Range" not in upstream.requests("a")[2].headers
        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg(2))

    async def test_a_coded_body_is_never_taken_up(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A place in the coded bytes is none in the image."""
        packed = gzip.compress(jpeg(size=50_000))
        coded = {"Content-Encoding": "gzip", "ETag": '"v1"'}
        upstream.images["a"] = [
            Reply(body=packed, headers=coded, content_type="image/jpeg", cut_after=40_000),
            Reply(body=jpeg()),
        ]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert "Range" not in upstream.requests("a")[1].headers
        assert (outcome, bytes(body.content)) == (("jpg", 2), jpeg())

    async def test_a_part_that_nobody_asked_for_is_no_image(self, upstream: FakeUpstream, parts: Parts) -> None:
        """A 206 to the first request is as good as broken."""
        upstream.images["a"] = Reply(body=jpeg(), status=206, headers={"Content-Range": "bytes 0-1999/4000"})

        assert await missing(parts) == (Reason.TRUNCATED, 3)

    async def test_a_rest_that_ends_too_soon_is_not_enough(self, upstream: FakeUpstream, parts: Parts) -> None:
        """Its own length may be met and still not be the rest; then the whole is asked for."""
        short = Reply(
            body=jpeg()[700:1_000], status=206, headers={"Content-Range": "bytes 700-999/2000", "ETag": '"v1"'}
        )
        upstream.images["a"] = [Reply(body=jpeg(), etag='"v1"', cut_after=700), short, Reply(body=jpeg())]
        body = MemoryBody()

        outcome = await download(parts, body=body)

        assert "Range" not in upstream.requests("a")[2].headers
        assert (outcome, bytes(body.content)) == (("jpg", 3), jpeg())
