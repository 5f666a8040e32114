"""Kept connections that died silently, as behind a firewall that forgets them: nothing is lost, nothing sent twice."""

import asyncio
import io
import json
from collections import Counter

from aiohttp import FormData, web
from yarl import URL

from tests.support.chat_server import chat, says
from tests.support.client import TIMEOUT, StartService
from tests.support.loopback import serving
from tests.support.orders import fill
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

ADMIN = {"X-Admin-Token": "token-of-the-administrator-0d5e"}


class DeadEnds:
    """A way to upstream on which kept connections die silently.

    After `kill`, each connection that was open takes one more request and hangs up on it.
    """

    def __init__(self, url: str) -> None:
        self._port = URL(url).port
        self._server: asyncio.Server | None = None
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.died = 0
        self.url = ""

    def kill(self) -> None:
        """All connections of now are dead, and nobody knows."""
        self._generation += 1

    async def __aenter__(self) -> "DeadEnds":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer, self._generation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        returning = asyncio.ensure_future(self._copy(back, writer))
        try:
            while data := await reader.read(65536):
                if born != self._generation:
                    self.died += 1
                    break
                forth.write(data)
        except ConnectionError:
            pass
        finally:
            returning.cancel()
            forth.close()
            writer.transport.abort()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


async def test_dead_kept_connections_lose_no_image(upstream: FakeUpstream, start_service: StartService) -> None:
    """Twenty connections were kept and died: a retry does not take the next dead one."""
    async with DeadEnds(upstream.url) as way:
        service = await start_service(autoenhance_api_base=f"{way.url}/v3", download_concurrency=20)
        fill(upstream, 20)
        gates = [upstream.hold(f"i{number}") for number in range(20)]
        first = asyncio.create_task(service.download())
        await upstream.until(lambda: upstream.in_flight == 20)
        for gate in gates:
            gate.set()
        assert (await first).status == 200
        wanted = fill(upstream, 20, order_id=OTHER_ORDER, prefix="j", script=lambda number: jpeg(100 + number))
        way.kill()

        answer = await service.download(OTHER_ORDER)

    assert (answer.status, answer.members) == (200, wanted)
    assert way.died > 0


async def test_an_order_is_asked_for_again(upstream: FakeUpstream, start_service: StartService) -> None:
    """Of many orders, all are told."""
    ids = [f"0b9f7c1e-4a57-4d6e-9d51-{number:012x}" for number in range(12)]
    upstream.orders |= {order_id: order(["a"], order_id=order_id) for order_id in ids}
    async with DeadEnds(upstream.url) as way:
        service = await start_service(autoenhance_api_base=f"{way.url}/v3", order_freshness=0)
        gates = [upstream.hold(order_id) for order_id in ids]
        first = [asyncio.create_task(service.ask(f"/v1/orders/{order_id}")) for order_id in ids]
        await upstream.until(lambda: all(upstream.calls(order_id) for order_id in ids))
        for gate in gates:
            gate.set()
        await asyncio.gather(*first)
        way.kill()

        answers = await asyncio.gather(*(service.ask(f"/v1/orders/{order_id}") for order_id in ids))

    assert [answer.status for answer in answers] == [200] * 12
    assert way.died > 0


async def test_an_upload_is_whole_and_made_once(start_service: StartService) -> None:
    """Neither the order nor an image, which nobody may ask for twice, is lost; nor a file, which is read once."""
    made: Counter[str] = Counter()
    stored: dict[str, bytes] = {}

    async def create(_: web.Request) -> web.StreamResponse:
        made["order"] += 1
        return web.json_response({"order_id": [ORDER, OTHER_ORDER][made["order"] - 1]})

    async def register(request: web.Request) -> web.StreamResponse:
        made["image"] += 1
        name = (await request.json())["image_name"]
        return web.json_response({"image_id": name, "upload_url": f"http://{request.host}/files/{made['image']}"})

    async def store(request: web.Request) -> web.StreamResponse:
        stored[request.path] = await request.read()
        return web.Response()

    routes = (web.post("/v3/orders/", create), web.post("/v3/images/", register), web.put("/files/{name}", store))
    async with serving(*routes) as url, DeadEnds(url) as way:
        service = await start_service(autoenhance_api_base=f"{way.url}/v3", admin_token=ADMIN["X-Admin-Token"])

        async def upload() -> tuple[int, list[str]]:
            form = FormData()
            for number in range(6):
                form.add_field("files", io.BytesIO(jpeg(number)), filename=f"{number}.jpg")
            async with (
                asyncio.timeout(TIMEOUT),
                service.session.post(f"{service.url}/v1/orders", data=form, headers=ADMIN) as response,
            ):
                return response.status, [file["status"] for file in (await response.json())["files"]]

        first = await upload()
        way.kill()
        second = await upload()

    assert first == second == (201, ["uploaded"] * 6)
    assert made == {"order": 2, "image": 12}
    assert sorted(stored.values()) == sorted(jpeg(number) for number in range(6) for _ in range(2))


async def test_a_question_is_answered(start_service: StartService) -> None:
    """By the chat server, which is asked once."""
    async with chat(says("Two of them.")) as server, DeadEnds(server.url) as way:
        service = await start_service(assistant_base_url=f"{way.url}/v1", assistant_model="small")

        async def ask() -> str:
            async with service.session.post(f"{service.url}/v1/ask", json={"question": "How many?"}) as response:
                data = [line[6:] for line in (await response.text()).splitlines() if line.startswith("data: ")]
            return str(json.loads(data[-1])["source"])

        first = await ask()
        way.kill()
        second = await ask()

    assert (first, second) == ("model", "model")
    assert len(server.questions) == 2
