"""The form of a new order, part by part: how much of it is taken, what is an image, and what is said of the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from service.api import order_form, parts
from service.api.keys import IMAGES, SETTINGS
from service.api.order_form import take_part
from service.api.parts import Parts
from service.images.store import ImageStore
from service.problems import BadRequest, InvalidParameter, PayloadTooLarge, UnsupportedMediaType, UploadTimeout
from service.reasons import UploadReason
from service.settings import Settings
from service.upstream.new_order import NewFile, NewOrder
from tests.support.samples import jpeg, png
from tests.support.transport import TIMEOUT, MemoryBody

FORM = "multipart/form-data; boundary=x"
MANY = 1 << 20


def part(content: bytes, disposition: str) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, content: str) -> bytes:
    return part(content.encode(), f'name="{name}"')


def file(name: str, content: bytes) -> bytes:
    return part(content, f'name="files"; filename="{name}"')


def request(body: bytes, *, kind: str = FORM, length: int | None = None, ended: bool = True) -> web.Request:
    protocol = BaseProtocol(asyncio.get_running_loop())
    protocol.connection_made(Mock(spec=asyncio.Transport))
    stream = StreamReader(protocol, 1 << 20)
    stream.feed_data(body)
    if ended:
        stream.feed_eof()
    headers = {"Content-Type": kind} | ({} if length is None else {"Content-Length": str(length)})
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, max_images_per_order=2)
    app[IMAGES] = cast(ImageStore, SimpleNamespace(receive=receive))
    return make_mocked_request("POST", "/v1/orders", headers, payload=stream, app=app)


async def contents(body: bytes, *, max_bytes: int = MANY, max_parts: int = 100, **more: Any) -> list[bytes]:
    """What is in each part."""
    found = Parts(request(body, **more), max_bytes=max_bytes, max_parts=max_parts)
    return [b"".join([chunk async for chunk in found.chunks(each)]) async for each in found]


END = b"--x--\r\n"


class TestParts:
    """`Parts`."""

    async def test_they_come_one_after_the_other(self) -> None:
        """Each whole."""
        assert await contents(field("a", "1") + file("b", b"2" * 100_000) + END) == [b"1", b"2" * 100_000]

    @pytest.mark.parametrize(("limit", "is_taken"), [(10, True), (9, False)])
    async def test_all_together_are_bounded(self, limit: int, is_taken: bool) -> None:
        """Whatever was announced."""
        body = file("a", b"123456") + file("b", b"7890") + END

        if is_taken:
            assert len(await contents(body, max_bytes=limit)) == 2
            return
        with pytest.raises(PayloadTooLarge):
            await contents(body, max_bytes=limit)

    @pytest.mark.parametrize(("limit", "is_taken"), [(2, True), (1, False)])
    async def test_there_are_only_so_many(self, limit: int, is_taken: bool) -> None:
        """Empty ones count as well."""
        body = file("", b"") + file("", b"") + END

        if is_taken:
            assert len(await contents(body, max_parts=limit)) == 2
            return
        with pytest.raises(PayloadTooLarge):
            await contents(body, max_parts=limit)

    @pytest.mark.parametrize(("length", "refused"), [(MANY, False), (MANY + 1, True)])
    async def test_what_is_announced_as_too_large_is_not_read(self, length: int, refused: bool) -> None:
        """It need not come."""
        if refused:
            with pytest.raises(PayloadTooLarge):
                Parts(request(b"", length=length), max_bytes=MANY, max_parts=1)
            return
        assert await contents(END, length=length) == []

    @pytest.mark.parametrize(
        ("kind", "problem"), [("text/plain", UnsupportedMediaType), ("multipart/form-data", BadRequest)]
    )
    async def test_what_is_no_form_is_refused(self, kind: str, problem: type[Exception]) -> None:
        """Nor is one without a boundary."""
        with pytest.raises(problem):
            await contents(END, kind=kind)

    @pytest.mark.parametrize("body", [file("a", b"1" * 100)[:-2], file("a", b"1"), b"nothing", b""])
    async def test_a_body_that_ends_too_soon_is_malformed(self, body: bytes) -> None:
        """What came of its last part is not taken for the whole."""
        with pytest.raises(BadRequest):
            await contents(body)

    @pytest.mark.parametrize("body", [file("a", b"1" * 100)[:-2], file("a", b"1" * 100)])
    async def test_a_part_that_was_cut_has_no_end(self, body: bytes) -> None:
        """It is known before anything is made of what came."""
        found = Parts(request(body), max_bytes=MANY, max_parts=1)
        cut = await anext(aiter(found))

        with pytest.raises(BadRequest):
            _ = [chunk async for chunk in found.chunks(cut)]

    @pytest.mark.parametrize("bound", ["SILENCE_SECONDS", "WHOLE_SECONDS"])
    async def test_who_sends_nothing_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
        """Nor who sends a little for ever."""
        monkeypatch.setattr(parts, bound, 0.01)

        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(UploadTimeout):
                await contents(b"--x\r\n", ended=False)

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ("A  b\r\n\t c ", "A b c"),
            ("ä" * 10, "ä" * 10),
            ("می\u200cخ 👨\u200d", "می\u200cخ 👨\u200d"),
            ("", ""),
            ("a" * 11, None),
            ("a\x00b", None),
            ("ä" * 21, None),
        ],
    )
    async def test_a_field_is_one_printable_line(self, given: str, text: str | None) -> None:
        """Of so many characters, not bytes."""
        found = Parts(request(field("name", given) + END), max_bytes=MANY, max_parts=1)

        async for each in found:
            if text is None:
                with pytest.raises(InvalidParameter, match="name"):
                    await found.text(each, "name", 10)
                return
            assert await found.text(each, "name", 10) == text


class Received(MemoryBody):
    """A file on the disk, as far as is needed."""

    async def file(self) -> Path:
        return Path(f"{len(self.content)} bytes")


_received: list[Received] = []


@asynccontextmanager
async def receive(largest: int) -> AsyncIterator[Received]:
    body = Received()
    _received.append(body)
    yield body
    body.restarts = -1  # let go of


class Order(NewOrder):
    """An order that only notes what is added."""

    def __init__(self) -> None:
        super().__init__(cast(Any, None))
        self.added: list[tuple[str, str, int]] = []

    async def add(self, name: str, path: Path, size: int, resources: AsyncExitStack) -> None:
        assert _received[-1].restarts == 0  # it is held until it is sent
        self.added.append((name, str(path), size))
        self.files.append(NewFile(name, size))
        await resources.aclose()


async def take(*given: bytes) -> Order:
    """An order of this form."""
    _received.clear()
    asked, order = request(b"".join(given) + END), Order()
    found = Parts(asked, max_bytes=MANY, max_parts=100)
    async for each in found:
        await take_part(asked, found, each, order)
    return order


def refused(order: Order) -> list[tuple[str, int, UploadReason | None]]:
    return [(one.name, one.size, one.reason) for one in order.files]


class TestFiles:
    """`take_part`."""

    @pytest.mark.parametrize(
        ("content", "name"), [(jpeg(), "a.jpg"), (png(), "a.png"), (b"\xff\xd8\xff" + b"x", "a.jpg")]
    )
    async def test_an_image_is_added_whole_by_what_it_is(self, content: bytes, name: str) -> None:
        """However short, and whatever its name said."""
        order = await take(field("name", " A  house"), file("a.gif", content))

        assert order.added == [(name, f"{len(content)} bytes", len(content))]
        assert (bytes(_received[0].content), order.name) == (content, "A house")

    @pytest.mark.parametrize("given", [[field("name", "")], [field("name", " \t")], []])
    async def test_an_empty_name_is_none(self, given: list[bytes]) -> None:
        """Autoenhance finds one then."""
        assert (await take(*given, file("a.jpg", jpeg()))).name is None

    async def test_a_field_that_was_left_empty_is_no_file(self) -> None:
        """An empty file with a name is one."""
        order = await take(file("", b""), file("a.jpg", b""))

        assert refused(order) == [("a.jpg", 0, UploadReason.NOT_AN_IMAGE)]

    @pytest.mark.parametrize("content", [b"GIF89a" + b"x" * 100, b"II\x2a\x00" + b"x" * 100, b"text"])
    async def test_what_autoenhance_does_not_take_is_refused(self, content: bytes) -> None:
        """None of it is kept; its size is told."""
        order = await take(file("a.jpg", content))

        assert (order.added, refused(order)) == ([], [("a.jpg", len(content), UploadReason.NOT_AN_IMAGE)])
        assert len(_received[0].content) <= 64
        assert _received[0].restarts == -1

    @pytest.mark.parametrize(("extra", "is_added"), [(0, True), (1, False)])
    async def test_the_largest_file(self, monkeypatch: pytest.MonkeyPatch, extra: int, is_added: bool) -> None:
        """One byte more is too much; what comes behind is not kept."""
        monkeypatch.setattr(order_form, "LARGEST_FILE", 200_000)
        content = jpeg(size=200_000 + extra)

        order = await take(file("a.jpg", content))

        if is_added:
            assert order.added == [("a.jpg", "200000 bytes", 200_000)]
            return
        assert (order.added, refused(order)) == ([], [("a.jpg", 200_001, UploadReason.FILE_TOO_LARGE)])
        assert len(_received[0].content) <= 200_000

    async def test_a_full_order_names_what_it_does_not_take(self) -> None:
        """As many as an archive can hold; refused ones count."""
        order = await take(file("a.jpg", jpeg()), file("b.txt", b"text"), file("c.jpg", jpeg()))

        assert [name for name, *_ in order.added] == ["a.jpg"]
        assert refused(order)[1:] == [
            ("b.txt", 4, UploadReason.NOT_AN_IMAGE),
            ("c.jpg", len(jpeg()), UploadReason.TOO_MANY_FILES),
        ]
        assert len(_received) == 2

    @pytest.mark.parametrize(
        ("given", "name"), [([file("a.jpg", jpeg()), field("name", "x")], "name"), ([field("colour", "red")], "colour")]
    )
    async def test_other_fields_are_refused(self, given: list[bytes], name: str) -> None:
        """And a name that comes too late: the order is there already."""
        with pytest.raises(InvalidParameter, match=name):
            await take(*given)

    @pytest.mark.parametrize("disposition", ['name*0="it\'s"', 'name="files"; filename*0="it\'s"'])
    async def test_a_continued_name_that_cannot_be_read_is_the_callers_mistake(self, disposition: str) -> None:
        """Of a field as of a file."""
        with pytest.raises(BadRequest, match="Content-Disposition"):
            await take(part(b"x", disposition))
