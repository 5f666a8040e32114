"""Firefox and WebKit in front of the page, each by its own standard protocol: WebDriver BiDi and WebDriver.

Chromium is driven by Playwright (`visitor.py`), which cannot drive the browsers as distributions package them.
"""

import asyncio
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse

from tests.support.loopback import free_port
from tests.support.tools import require_tool

TIMEOUT = 60
"""Seconds after which what never comes is given up."""
ENTER, ESCAPE, RIGHT = "\ue007", "\ue00c", "\ue014"
"""Keys, as both protocols write them."""

_MINI_BROWSER = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser"
_PREFERENCES = {
    "browser.download.alwaysOpenPanel": False,
    "browser.download.folderList": 2,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.normandy.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "services.settings.server": "http://127.0.0.1:9",
    "ui.useOverlayScrollbars": 1,
}


class Engine(ABC):
    """One tab of a browser, which saves files below `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.complaints: list[str] = []
        """What its console holds against the page, where it tells (Firefox)."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Load a page."""

    @abstractmethod
    async def run(self, script: str) -> Any:
        """What the body of an async function returns, run in the page."""

    @abstractmethod
    async def resize(self, width: int, height: int) -> None:
        """Give the page so many pixels."""

    @abstractmethod
    async def act(self, actions: list[dict[str, Any]]) -> None:
        """Perform actions of the keyboard, as both protocols write them."""

    async def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        await self.act([{"type": "key", "id": "keyboard", "actions": steps}])

    async def until(self, expression: str) -> Any:
        """The value of an expression in the page, once it is true."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                if found := await self.run(f"return {expression};"):
                    return found
                await asyncio.sleep(0.05)

    async def saved(self, pattern: str) -> Path:
        """A file of this name, once it is saved."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                if found := [path for path in self.home.rglob(pattern) if path.stat().st_size]:
                    return found[0]
                await asyncio.sleep(0.05)


class _Firefox(Engine):
    def __init__(self, home: Path, socket: ClientWebSocketResponse) -> None:
        super().__init__(home)
        self._socket = socket
        self._last = 0
        self._tab = ""

    async def begin(self) -> None:
        await self._call("session.new", capabilities={})
        await self._call("session.subscribe", events=["log.entryAdded"])
        self._tab = (await self._call("browsingContext.create", type="window"))["context"]

    async def open(self, url: str) -> None:
        await self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def run(self, script: str) -> Any:
        expression = f"(async () => {{ {script} }})().then((found) => JSON.stringify(found ?? null))"
        target = {"context": self._tab}
        found = await self._call("script.evaluate", expression=expression, target=target, awaitPromise=True)
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    async def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        await self._call("browsingContext.setViewport", context=self._tab, viewport=viewport)

    async def act(self, actions: list[dict[str, Any]]) -> None:
        await self._call("input.performActions", context=self._tab, actions=actions)

    async def _call(self, method: str, **parameters: Any) -> Any:
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": parameters})
        async with asyncio.timeout(TIMEOUT):
            while True:
                message = await self._socket.receive_json()
                if message.get("method") == "log.entryAdded" and message["params"]["level"] in ("error", "warn"):
                    self.complaints.append(str(message["params"]["text"]))
                if message.get("id") == self._last:
                    assert message["type"] == "success", message
                    return message["result"]


class _WebKit(Engine):
    def __init__(self, home: Path, session: ClientSession, url: str) -> None:
        super().__init__(home)
        self._session = session
        self._url = url

    async def open(self, url: str) -> None:
        await self._post("/url", {"url": url})

    async def run(self, script: str) -> Any:
        body = f"const done = arguments[0]; (async () => {{ {script} }})().then(done, (error) => done(String(error)));"
        return await self._post("/execute/async", {"script": body, "args": []})

    async def resize(self, width: int, height: int) -> None:
        await self._post("/window/rect", {"width": width, "height": height})

    async def act(self, actions: list[dict[str, Any]]) -> None:
        await self._post("/actions", {"actions": actions})

    async def _post(self, path: str, document: dict[str, Any]) -> Any:
        async with self._session.post(self._url + path, json=document) as answer:
            found = await answer.json()
        assert answer.status == 200, found
        return found["value"]


@asynccontextmanager
async def firefox() -> AsyncIterator[Engine]:
    """A running Firefox, without a window."""
    program = require_tool("firefox-esr")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "saved").mkdir()
        preferences = {**_PREFERENCES, "browser.download.dir": str(home / "saved")}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
        (home / "user.js").write_text("\n".join(lines))
        arguments = ("--headless", "--no-remote", "--profile", folder, "--remote-debugging-port", "0")
        async with _process(program, *arguments, home=home) as output:
            address = (await _line_with(output, "ws://")).split()[-1]
            async with ClientSession() as session, session.ws_connect(f"{address}/session", max_msg_size=0) as socket:
                tab = _Firefox(home / "saved", socket)
                await tab.begin()
                yield tab


@asynccontextmanager
async def webkit() -> AsyncIterator[Engine]:
    """A running WebKit, in a window of a screen that nobody sees."""
    screen, driver = require_tool("Xvfb"), require_tool("WebKitWebDriver")
    require_tool(_MINI_BROWSER)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        arguments = ("-displayfd", "1", "-screen", "0", "2000x1200x24", "-nolisten", "tcp")
        async with _process(screen, *arguments, home=home) as numbers:
            # Where another screen is being begun, what it could not listen on comes before its number.
            while not (number := (await _line_with(numbers, "\n")).strip()).isdigit():
                pass
            display = f":{number}"
            port = free_port()
            more = {"DISPLAY": display, "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
            timeout = ClientTimeout(total=TIMEOUT)
            async with (
                _process(driver, f"--port={port}", home=home, more=more),
                ClientSession(timeout=timeout) as session,
            ):
                url = await _webkit_session(session, f"http://127.0.0.1:{port}/session")
                yield _WebKit(home, session, url)
                await session.delete(url)


ENGINES = {"firefox": firefox, "webkit": webkit}


async def _webkit_session(session: ClientSession, url: str) -> str:
    options = {"binary": _MINI_BROWSER, "args": ["--automation"]}
    wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                async with session.post(url, json=wanted) as answer:
                    return f"{url}/{(await answer.json())['value']['sessionId']}"
            except OSError:  # it does not listen yet
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _process(
    program: str, *arguments: str, home: Path, more: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """A program that runs in a home of its own, and what it prints."""
    running = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), **(more or {})},
    )
    assert running.stdout is not None
    try:
        yield running.stdout
    finally:
        running.terminate()
        try:
            async with asyncio.timeout(10):
                await running.communicate()
        except TimeoutError:
            running.kill()
            await running.wait()


async def _line_with(output: asyncio.StreamReader, text: str) -> str:
    async with asyncio.timeout(TIMEOUT):
        while line := (await output.readline()).decode(errors="replace"):
            if text in line:
                return line
    raise AssertionError(f"it ended without saying {text!r}")
