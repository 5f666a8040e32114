"""Orders that are made at Autoenhance: what is sent there, what is repeated, and how a file that fails is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from yarl import URL

from service.problems import BreakerOpen, Problem, UpstreamError, UpstreamTimeout, UpstreamUnauthorized
from service.reasons import Reason, UploadReason
from service.telemetry.metrics import Circuit, Metrics
from service.upstream import download, retry, uploads
from service.upstream.answers import UpstreamFailure
from service.upstream.breaker import Breaker
from service.upstream.client import Autoenhance
from service.upstream.new_order import NewOrder
from service.upstream.retry import RetryPolicy
from service.upstream.transport import Transport
from service.upstream.uploads import UploadFailed, Uploads
from tests.support.samples import ORDER
from tests.support.transport import TIMEOUT, FakeClock, yield_to_loop

BASE = URL("https://api.example/v3")
CONTENT = b"a photo" * 300_000
STORAGE = "https://storage.example/a?content-type=image%2Fjpeg&X-Amz-Signature=s"
IMAGE = {"image_id": "i1", "upload_url": STORAGE}


def failure(reason: Reason, status: int | None = None, circuit: Circuit = Circuit.API) -> UpstreamFailure:
    return UpstreamFailure(reason, status=status, circuit=circuit)


class Wire:
    """Stands in for the transport: says what the test has it say, and keeps what was sent."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, object]] = []
        self.put_to: list[tuple[URL, bytes, Mapping[str, str]]] = []
        self.answers: list[object] = []
        """To documents that are sent; a failure is raised."""
        self.refusals: list[UpstreamFailure] = []
        """Of what is put into storage; then all is taken."""
        self.seconds: list[float] = []
        self.given_up_at: list[float] = []
        """As it stood while each piece of a file was taken (of `time.monotonic`)."""
        self.take: Callable[[], object] = lambda: None
        """Called with each piece."""

    async def post(self, operation: str, url: URL, document: Mapping[str, Any], *, seconds: float) -> object:
        self.posted.append((str(url), document))
        self.seconds.append(seconds)
        answer = self.answers.pop(0)
        if isinstance(answer, UpstreamFailure):
            raise answer
        return answer

    async def put(
        self,
        operation: str,
        url: URL,
        body: AsyncIterator[bytes],
        *,
        timeout: asyncio.Timeout,
        headers: Mapping[str, str],
    ) -> None:
        async with timeout:
            content = b""
            async for chunk in body:
                content += chunk
                self.given_up_at.append(timeout.when() or 0.0)
                self.take()
            self.put_to.append((url, content, headers))
            if self.refusals:
                raise self.refusals.pop(0)


class Scene:
    """What makes orders, in front of a wire."""

    def __init__(self, *, seconds: float = 60.0) -> None:
        self.wire = Wire()
        self.breakers = {circuit: Breaker(circuit, failures=1, reset=60, metrics=Metrics()) for circuit in Circuit}
        self.uploads = Autoenhance(
            cast(Transport, self.wire),
            Metrics(),
            base=BASE,
            breakers=self.breakers,
            policy=RetryPolicy(2, backoff=0, min_pause=0),
            image_seconds=seconds,
        ).uploads

    def open(self, circuit: Circuit) -> None:
        self.breakers[circuit].advise(60)


@pytest.fixture
def far(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of uploads, far ahead of the loop's: nothing expires by itself."""
    clock.advance(1e9)
    for module in (retry, download, uploads):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(CONTENT)
    return path


class TestOrders:
    """`create_order`."""

    @pytest.mark.parametrize(("name", "document"), [("A house", {"name": "A house"}), (None, {})])
    @pytest.mark.parametrize("field", ["order_id", "id"])
    async def test_its_id_comes_by_either_name(
        self, scene: Scene, name: str | None, document: object, field: str
    ) -> None:
        """With the slash in the end: without it the API redirects, and a POST is not sent on."""
        scene.wire.answers = [{field: ORDER}]

        assert await scene.uploads.create_order(name) == ORDER
        assert scene.wire.posted == [(f"{BASE}/orders/", document)]

    @pytest.mark.parametrize("answer", [{}, {"order_id": 7}, {"id": "o1"}, {"order_id": f"{ORDER}\r\n"}, [ORDER], None])
    async def test_an_answer_without_an_id_is_upstreams_error(self, scene: Scene, answer: object) -> None:
        """It is not asked again: it may have made one. Nor is an id taken that no route of an order would take."""
        scene.wire.answers = [answer]

        with pytest.raises(UpstreamError):
            await scene.uploads.create_order(None)
        assert len(scene.wire.posted) == 1

    @pytest.mark.parametrize(
        ("refused", "problem"),
        [
            (failure(Reason.REFUSED, 403), UpstreamUnauthorized),
            (failure(Reason.IMAGE_NOT_FOUND, 404), UpstreamError),
            (failure(Reason.TIMEOUT), UpstreamTimeout),
            (failure(Reason.UPSTREAM_ERROR, 503), UpstreamError),
            (failure(Reason.UNREACHABLE), UpstreamError),
        ],
    )
    async def test_what_may_have_made_one_is_not_sent_again(
        self, scene: Scene, refused: UpstreamFailure, problem: type[Problem]
    ) -> None:
        """And there is no order that could not be found: its caller named none."""
        scene.wire.answers = [refused]

        with pytest.raises(problem):
            await scene.uploads.create_order(None)
        assert len(scene.wire.posted) == 1

    async def test_what_was_turned_away_is_sent_again_as_often_as_anything(self, scene: Scene) -> None:
        """A 429 counts as an attempt: some limits last an hour."""
        scene.wire.answers = [failure(Reason.RATE_LIMITED, 429), {"order_id": ORDER}]
        assert await scene.uploads.create_order(None) == ORDER

        scene.wire.answers = [failure(Reason.RATE_LIMITED, 429) for _ in range(3)]
        with pytest.raises(Problem):
            await scene.uploads.create_order(None)
        assert len(scene.wire.posted) == 4

    @pytest.mark.parametrize("circuit", Circuit)
    async def test_an_open_circuit_is_told_with_its_time(self, scene: Scene, circuit: Circuit) -> None:
        """Nothing is sent: an order whose files storage cannot take would stay empty."""
        scene.open(circuit)
        scene.wire.answers = [{"order_id": ORDER}]

        with pytest.raises(BreakerOpen) as told:
            await scene.uploads.create_order(None)
        assert 50 < told.value.retry_after <= 60
        assert scene.wire.posted == []

    @pytest.mark.parametrize(("seconds", "limit"), [(60.0, 20.0), (5.0, 5.0)])
    async def test_it_has_the_time_of_a_call(self, seconds: float, limit: float) -> None:
        """Or less, where images have less."""
        scene = Scene(seconds=seconds)
        scene.wire.answers = [{"order_id": ORDER}]

        await scene.uploads.create_order(None)

        assert limit - 2 < scene.wire.seconds[0] <= limit


class TestImages:
    """`upload`."""

    @pytest.mark.parametrize("names", [("image_id", "upload_url"), ("id", "s3PutObjectUrl")])
    async def test_it_is_registered_and_its_file_is_sent(
        self, scene: Scene, photo: Path, names: tuple[str, str]
    ) -> None:
        """Whole, with its length, and the type that was signed; by the names of any version."""
        scene.wire.answers = [dict(zip(names, ("i1", STORAGE), strict=True))]

        assert await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT)) == "i1"

        ((url, registration),) = scene.wire.posted
        assert url == f"{BASE}/images/"
        assert registration == {"order_id": "o1", "image_name": "a.jpg", "contentType": "application/octet-stream"}
        ((target, content, headers),) = scene.wire.put_to
        assert (str(target), content) == (STORAGE, CONTENT)
        assert headers == {"Content-Length": str(len(CONTENT)), "Content-Type": "image/jpeg"}

    async def test_where_no_type_was_signed_it_is_any_bytes(self, scene: Scene, photo: Path) -> None:
        """As it was registered."""
        scene.wire.answers = [IMAGE | {"upload_url": "https://storage.example/a"}]

        await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert scene.wire.put_to[0][2]["Content-Type"] == "application/octet-stream"

    @pytest.mark.parametrize("circuit", Circuit)
    async def test_while_either_circuit_is_open_nothing_is_registered(
        self, scene: Scene, photo: Path, circuit: Circuit
    ) -> None:
        """An image would be listed for ever without its picture."""
        scene.open(circuit)

        with pytest.raises(UploadFailed) as told:
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))
        assert (told.value.reason, told.value.image_id) == (UploadReason.BREAKER_OPEN, None)
        assert scene.wire.posted == []

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ([failure(Reason.RATE_LIMITED, 429)] * 2, UploadReason.FILE_NAME_LIMIT),
            ([failure(Reason.TIMEOUT)], UploadReason.TIMEOUT),
            ([failure(Reason.REJECTED, 400)], UploadReason.REFUSED),
            ([{"image_id": "i1"}], UploadReason.UPSTREAM_ERROR),
            ([{"upload_url": STORAGE}], UploadReason.UPSTREAM_ERROR),
            ([{"image_id": "i1", "upload_url": "ftp://storage.example/a"}], UploadReason.REFUSED),
        ],
    )
    async def test_what_is_not_registered_is_told_without_an_id(
        self, scene: Scene, photo: Path, answers: list[object], reason: UploadReason
    ) -> None:
        """Only a 429 is sent again: what stays of it is the limit on uses of a file name."""
        scene.wire.answers = list(answers)

        with pytest.raises(UploadFailed) as told:
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))
        assert (told.value.reason, told.value.image_id) == (reason, None)
        assert (scene.wire.answers, scene.wire.put_to) == ([], [])

    @pytest.mark.parametrize(
        ("refused", "reason", "times"),
        [
            (failure(Reason.RATE_LIMITED, 429, Circuit.ASSETS), UploadReason.RATE_LIMITED, 2),
            (failure(Reason.UPSTREAM_ERROR, 503, Circuit.ASSETS), UploadReason.UPSTREAM_ERROR, 2),
            (failure(Reason.UNREACHABLE, None, Circuit.ASSETS), UploadReason.UPSTREAM_ERROR, 2),
            (failure(Reason.TIMEOUT, None, Circuit.ASSETS), UploadReason.TIMEOUT, 2),
            (failure(Reason.REFUSED, 403, Circuit.ASSETS), UploadReason.REFUSED, 1),
        ],
    )
    async def test_what_storage_does_not_take_is_told_with_its_id(
        self, scene: Scene, photo: Path, refused: UpstreamFailure, reason: UploadReason, times: int
    ) -> None:
        """What may pass is sent again, from its first byte."""
        scene.wire.answers, scene.wire.refusals = [IMAGE], [refused] * 2

        with pytest.raises(UploadFailed) as told:
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))
        assert (told.value.reason, told.value.image_id) == (reason, "i1")
        assert [content == CONTENT for _, content, _ in scene.wire.put_to] == [True] * times

    async def test_storage_is_well_once_a_file_has_arrived_again(self, scene: Scene, photo: Path) -> None:
        """Not yet when it may be tried."""
        assert scene.uploads.is_storage_well
        scene.open(Circuit.ASSETS)
        scene.breakers[Circuit.ASSETS].advise(0)
        assert not scene.uploads.is_storage_well
        scene.wire.answers = [IMAGE]

        await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert scene.uploads.is_storage_well

    async def test_broken_storage_opens_its_own_circuit(self, scene: Scene, photo: Path) -> None:
        """That of the API has done its part."""
        scene.wire.answers, scene.wire.refusals = [IMAGE], [failure(Reason.UNREACHABLE, None, Circuit.ASSETS)] * 2

        with pytest.raises(UploadFailed):
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert {circuit for circuit in Circuit if scene.breakers[circuit].is_open} == {Circuit.ASSETS}

    async def test_the_api_works_once_an_image_is_registered(
        self, scene: Scene, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who waits for its trial does not wait for the file, too."""
        scene.wire.answers, sent = [IMAGE], []
        for seconds in (60, 0):
            scene.breakers[Circuit.API].advise(seconds)

        async def put(*_: object, **__: object) -> None:
            sent.append(scene.breakers[Circuit.API].is_closed)

        monkeypatch.setattr(scene.wire, "put", put)
        await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert sent == [True]

    async def test_a_circuit_that_opens_meanwhile_leaves_an_image_that_is_listed(
        self, scene: Scene, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its id is told; nothing is sent to storage."""

        async def post(*_: object, **__: object) -> object:
            scene.open(Circuit.ASSETS)
            return IMAGE

        monkeypatch.setattr(scene.wire, "post", post)

        with pytest.raises(UploadFailed) as told:
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))
        assert (told.value.reason, told.value.image_id) == (UploadReason.BREAKER_OPEN, "i1")
        assert scene.wire.put_to == []

    async def test_its_file_has_the_time_that_is_left(
        self, scene: Scene, photo: Path, monkeypatch: pytest.MonkeyPatch, far: FakeClock
    ) -> None:
        """Of all that an image may take, registered and sent."""

        async def post(*_: object, **__: object) -> object:
            far.advance(45)
            return IMAGE

        monkeypatch.setattr(scene.wire, "post", post)

        await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert set(scene.wire.given_up_at) == {far() + 15}

    async def test_a_file_that_storage_keeps_taking_has_more_time(
        self, scene: Scene, photo: Path, far: FakeClock
    ) -> None:
        """Half a minute from each piece, ten times its own in all. That this is over is no sign of an outage."""
        began = far()
        scene.wire.answers, scene.wire.refusals = [IMAGE], [failure(Reason.TIMEOUT, None, Circuit.ASSETS)]
        scene.wire.take = lambda: far.advance(25)

        with pytest.raises(UploadFailed):
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        times = [round(at - began) for at in scene.wire.given_up_at]
        assert times[:5] == [30, 55, 80, 105, 130]
        assert times[-1] == 600
        assert not scene.breakers[Circuit.ASSETS].is_open

    async def test_a_file_that_is_taken_at_once_and_never_answered_is_a_sign_of_an_outage(
        self, scene: Scene, photo: Path, far: FakeClock
    ) -> None:
        """It may have come no further than to a buffer on the way."""
        scene.wire.answers, scene.wire.refusals = [IMAGE], [failure(Reason.TIMEOUT, None, Circuit.ASSETS)] * 2

        with pytest.raises(UploadFailed):
            await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert scene.breakers[Circuit.ASSETS].is_open

    async def test_a_slow_upload_ends_the_trial_after_an_outage(
        self, scene: Scene, photo: Path, far: FakeClock
    ) -> None:
        """Before it is sent: others need not wait for that."""
        scene.open(Circuit.ASSETS)
        scene.breakers[Circuit.ASSETS].advise(0)
        found: list[bool] = []

        def take() -> None:
            far.advance(25)
            found.append(scene.uploads.is_storage_well)

        scene.wire.answers, scene.wire.take = [IMAGE], take

        await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert (found[0], found[-1]) == (False, True)

    async def test_a_file_that_is_read_by_less_than_was_asked_for_is_sent_whole(
        self, scene: Scene, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Network disks give what they have."""
        piece = uploads._piece
        monkeypatch.setattr(uploads, "_piece", lambda path, offset: piece(path, offset)[:700_000])
        scene.wire.answers = [IMAGE]

        await scene.uploads.upload("o1", "a.jpg", photo, len(CONTENT))

        assert scene.wire.put_to[0][1] == CONTENT


class Slow:
    """Stands in for what uploads: each waits until the test lets it end."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.running: dict[str, asyncio.Future[str]] = {}
        self.problem: Problem | None = None
        self.is_storage_well = True

    async def create_order(self, name: str | None) -> str:
        self.names.append(name)
        if self.problem is not None:
            raise self.problem
        return "o1"

    async def upload(self, order_id: str, name: str, path: Path, size: int) -> str:
        self.running[name] = asyncio.get_running_loop().create_future()
        try:
            return await self.running[name]
        finally:
            del self.running[name]


class TestNewOrder:
    """`NewOrder`: files come one after the other, and three are sent on at once."""

    def setup_method(self) -> None:
        self.slow = Slow()
        self.released: list[str] = []

    def order(self) -> NewOrder:
        return NewOrder(cast(Uploads, self.slow))

    async def add(self, order: NewOrder, name: str) -> None:
        resources = AsyncExitStack()
        resources.callback(self.released.append, name)
        await order.add(name, Path(name), 3, resources)

    async def test_the_first_file_makes_the_order(self) -> None:
        """By the name that was given before; none of it for files that are refused."""
        async with self.order() as order:
            order.refuse("z.txt", 1, UploadReason.NOT_AN_IMAGE)
            assert (order.order_id, self.slow.names) == (None, [])
            order.name = "A house"
            for name in ("a", "b"):
                await self.add(order, name)

            assert (order.order_id, self.slow.names) == ("o1", ["A house"])

    async def test_three_are_sent_on_at_once(self) -> None:
        """The fourth waits for one of them, with what it holds."""
        async with asyncio.timeout(TIMEOUT), self.order() as order:
            for name in ("a", "b", "c"):
                await self.add(order, name)
            fourth = asyncio.create_task(self.add(order, "d"))
            await yield_to_loop()
            assert (set(self.slow.running), fourth.done(), self.released) == ({"a", "b", "c"}, False, [])

            self.slow.running["b"].set_result("i2")
            await fourth
            await yield_to_loop()
            assert (set(self.slow.running), self.released) == ({"a", "c", "d"}, ["b"])

    async def test_after_an_outage_of_storage_the_first_is_sent_alone(self) -> None:
        """While it is tried whether storage works again the others wait: they would be refused."""
        self.slow.is_storage_well = False
        async with asyncio.timeout(TIMEOUT), self.order() as order:
            await self.add(order, "a")
            second = asyncio.create_task(self.add(order, "b"))
            await yield_to_loop()
            assert (set(self.slow.running), second.done()) == ({"a"}, False)

            self.slow.is_storage_well = True
            self.slow.running["a"].set_result("i1")
            await second
            await self.add(order, "c")
            await yield_to_loop()
            assert set(self.slow.running) == {"b", "c"}

    async def test_one_that_fails_makes_room_and_is_told(self) -> None:
        """In the sequence in which they came."""
        async with asyncio.timeout(TIMEOUT), self.order() as order:
            for name in ("a", "b", "c"):
                await self.add(order, name)
            fourth = asyncio.create_task(self.add(order, "d"))
            await yield_to_loop()
            self.slow.running["a"].set_exception(UploadFailed(UploadReason.TIMEOUT, "i1"))
            await fourth
            await yield_to_loop()
            assert self.released == ["a"]
            for name in ("d", "c", "b"):
                self.slow.running[name].set_result(f"i-{name}")
            await order.finish()

        told = [(file.name, file.image_id, file.reason) for file in order.files]
        assert told == [("a", "i1", UploadReason.TIMEOUT), *((name, f"i-{name}", None) for name in "bcd")]
        assert (order.uploaded, sorted(self.released)) == (3, ["a", "b", "c", "d"])

    async def test_an_order_that_cannot_be_made_keeps_no_file(self) -> None:
        """Its problem is the caller's."""
        self.slow.problem = UpstreamTimeout()

        async with self.order() as order:
            with pytest.raises(UpstreamTimeout):
                await self.add(order, "a")

        assert (order.files, self.released) == ([], ["a"])

    @pytest.mark.parametrize("turns", [0, 10], ids=["before its first step", "while it is sent"])
    async def test_who_leaves_ends_what_is_being_sent(self, turns: int) -> None:
        """And all that was held for it is given back."""
        async with self.order() as order:
            await self.add(order, "a")
            await yield_to_loop(turns)

        assert (self.slow.running, self.released) == ({}, ["a"])
