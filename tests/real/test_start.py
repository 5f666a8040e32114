"""What an operator is told at the start, whom links count against, and which way calls to Autoenhance take."""

import asyncio
import hashlib
import hmac
import json
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from tests.support.client import TIMEOUT, StartService
from tests.support.command_line import run
from tests.support.loopback import serving
from tests.support.process import CHECKOUT, ServiceProcess, clean_environment
from tests.support.samples import ORDER, jpeg, order
from tests.support.upstream import FakeUpstream

TOKEN = "token-of-the-administrator-77aa"
FIRST, SECOND = "key-of-the-first-caller", "key-of-the-second-caller"


async def started(folder: Path, **settings: str) -> tuple[int, str]:
    """Start the service and stop it as soon as it listens; its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "serve"),
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(CHECKOUT), PORT="0", **settings),
        stderr=asyncio.subprocess.PIPE,
    )
    said = b""
    assert process.stderr is not None
    try:
        async with asyncio.timeout(3 * TIMEOUT):
            while line := await process.stderr.readline():
                said += line
                if b"listening" in line:
                    process.send_signal(signal.SIGTERM)
            return await process.wait(), said.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_an_open_service_that_others_can_reach_is_told(tmp_path: Path, host: str) -> None:
    """Whoever reaches it can spend credits."""
    code, said = await started(tmp_path, HOST=host)

    assert code == 0
    assert "SERVICE_API_KEY is not set" in said


async def test_on_the_loopback_nothing_is_told(tmp_path: Path) -> None:
    """That is how one tries it out."""
    code, said = await started(tmp_path, HOST="127.0.0.1", AUTOENHANCE_API_KEY="key-of-the-account-5c02")

    assert (code, "warning" in said) == (0, False)


@pytest.mark.parametrize(
    ("name", "secret"),
    [("SERVICE_API_KEY", "x"), ("ADMIN_TOKEN", "changeme"), ("AUTOENHANCE_WEBHOOK_SECRET", "fifteen letters")],
)
async def test_a_secret_that_can_be_guessed_is_refused(tmp_path: Path, name: str, secret: str) -> None:
    """Where others can try; on the loopback it is told."""
    reached, refused = await started(tmp_path, HOST="0.0.0.0", **{name: secret})
    alone, told = await started(tmp_path, HOST="127.0.0.1", **{name: secret})

    assert (reached, alone) == (2, 0)
    assert name in refused
    assert f"{name} is short enough to be guessed" in told


async def test_an_administrators_links_are_no_callers(upstream: FakeUpstream, start_service: StartService) -> None:
    """Whoever is first among the keys: what is downloaded by them counts against the administrators."""
    service = await start_service(service_api_key=f"{FIRST},{SECOND}", admin_token=TOKEN, rate_limit="2/minute")
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    path = f"/v1/orders/{ORDER}/images"

    async def link() -> str:
        headers = {"X-Admin-Token": TOKEN}
        async with service.session.post(f"{service.url}/v1/links", json={"path": path}, headers=headers) as made:
            return str((await made.json())["url"])

    by_link = [(await service.ask(await link())).status for _ in range(3)]
    callers = [(await service.ask(path, headers={"X-API-Key": key})).status for key in (FIRST, SECOND)]

    assert by_link == [200, 200, 429]
    assert callers == [200, 200]


async def test_a_link_tells_nothing_quickly_of_its_key(upstream: FakeUpstream, start_service: StartService) -> None:
    """Its signature is no quick function of the key and the address: keys cannot be tried out on it."""
    service = await start_service(service_api_key=FIRST)
    body = {"path": f"/v1/orders/{ORDER}/images"}
    async with service.session.post(f"{service.url}/v1/links", json=body, headers={"X-API-Key": FIRST}) as made:
        url = URL((await made.json())["url"])

    signed = f"{url.path}?expires={url.query['expires']}".encode()
    quick = [
        hmac.new(key, signed, hashlib.sha256).hexdigest()
        for key in (
            FIRST.encode(),
            hashlib.sha256(FIRST.encode()).digest(),
            hmac.new(FIRST.encode(), b"link", hashlib.sha256).digest(),
            hmac.new(b"link", FIRST.encode(), hashlib.sha256).digest(),
        )
    ]

    assert url.query["signature"] not in quick


async def _status_of_a_download(data_dir: Path, settings: dict[str, str]) -> int:
    async with (
        ServiceProcess(data_dir, **settings) as service,
        ClientSession() as session,
        session.get(f"{service.url}/v1/orders/{ORDER}/images") as response,
    ):
        return response.status


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_calls_take_the_proxy_of_the_environment(upstream: FakeUpstream, tmp_path: Path, name: str) -> None:
    """The order, its images and the files of a new order; `NO_PROXY` lets some go directly."""
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    upstream.hops["a"] = 1
    asked: list[str] = []

    async def forward(request: web.Request) -> web.StreamResponse:
        asked.append(str(request.url.host))
        target = upstream.assets_url if request.url.host == "assets.example" else upstream.url
        async with (
            ClientSession() as session,
            session.get(URL(target).with_path(request.path).with_query(request.query), allow_redirects=False) as answer,
        ):
            headers = {}
            if "Location" in answer.headers:
                headers["Location"] = str(URL(answer.headers["Location"]).with_host("assets.example").with_port(80))
            return web.Response(body=await answer.read(), status=answer.status, headers=headers)

    async with serving(web.get("/{path:.*}", forward)) as url:
        settings = {"AUTOENHANCE_API_KEY": "key", "AUTOENHANCE_API_BASE": "http://api.example/v3", name: url}
        status = await _status_of_a_download(tmp_path / "data", settings)
        direct = settings | {"NO_PROXY": "127.0.0.1", "AUTOENHANCE_API_BASE": upstream.url}
        count = len(asked)
        other = await _status_of_a_download(tmp_path / "other", direct)

    assert (status, other) == (200, 200)
    assert set(asked) == {"api.example", "assets.example"}
    assert len(asked) == count


async def test_a_proxy_of_another_kind_stops_the_start(tmp_path: Path) -> None:
    """It would be passed by, and what is meant to be seen by it would not be."""
    ended = await run("serve", folder=tmp_path, PORT="0", HTTPS_PROXY="socks5://user:secret@proxy.example:1080")

    assert ended.code == 2
    assert "HTTPS_PROXY" in ended.errors
    assert "secret" not in ended.errors


async def test_settings_are_read_from_the_working_directory_not_from_the_data(tmp_path: Path) -> None:
    """Whoever can write into the data volume cannot say who may call, or where Autoenhance is."""
    data, folder = tmp_path / "data", tmp_path / "folder"
    data.mkdir()
    folder.mkdir()
    (data / ".env").write_text("ADMIN_TOKEN=short\nHOST=0.0.0.0\nRATE_LIMIT=nonsense\n")
    (folder / ".env").write_text("LOG_FORMAT=json\n")

    code, said = await started(folder, DATA_DIR=str(data))

    assert code == 0, said
    first = json.loads(said.splitlines()[0])
    assert first["event"] == "starting"
