"""One call to upstream over HTTP: headers, redirects followed by hand, and failures told apart."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    InvalidURL,
    hdrs,
)
from yarl import URL

from service.reasons import Reason
from service.telemetry.metrics import Call, Circuit, Metrics
from service.upstream.answers import UpstreamFailure, for_the_log, refusal
from service.upstream.bodies import PACKING, first_text, read_document
from service.upstream.network import CONNECT_SECONDS, STALL_SECONDS, AddressGuard, ForbiddenAddress

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A redirect's body up to this size is read.
_SMALL_BODY = 16 * 1024
# aiohttp's timer for a stall is set anew with every packet: who calls `get` or `put` has one of its own.
_UNTIMED = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
# What storage says of a stored object.
_DONE = frozenset({200, 201, 204})


class Transport:
    """Calls to Autoenhance and to where it sends us; the key goes to the API's own origin only.

    `fresh` is a session that keeps no connection: connections that were kept die together.
    """

    def __init__(
        self,
        session: ClientSession,
        fresh: ClientSession,
        guard: AddressGuard,
        metrics: Metrics,
        *,
        base: URL,
        key: str,
        version: str | None,
    ) -> None:
        self._session = session
        self._fresh = fresh
        self._guard = guard
        self._metrics = metrics
        self._origin = base.origin()
        self._key = key
        self._api_headers = {"x-api-key": key} | ({"x-api-version": version} if version else {})

    @asynccontextmanager
    async def get(
        self,
        operation: str,
        url: URL,
        *,
        admit: Callable[[Circuit], Awaitable[None]],
        timeout: asyncio.Timeout,
        headers: Mapping[str, str] = {},
        api_headers: Mapping[str, str] = {},
        is_fresh: bool = False,
        is_document: bool = False,
    ) -> AsyncIterator[ClientResponse]:
        """The answer at the end of the redirects, with status 200 or 206; its body is read within this block.

        `api_headers` go to the API's origin only; `headers` go along all the way. `admit` is asked before each hop.
        `timeout`, which is entered here, bounds it as a whole; nothing else but connecting is timed. `is_fresh` asks
        for new connections; `is_document` for a body that is read by `bodies.read_body`. Raises `UpstreamFailure` for
        anything else, also when the body cannot be read.
        """
        at_api = True
        circuit = Circuit.API
        with translate_errors(lambda: circuit, self._key):
            async with timeout:
                await self._guard.learn()
                for _ in range(_MAX_REDIRECTS + 1):
                    circuit = Circuit.API if at_api else Circuit.ASSETS
                    await admit(circuit)
                    own = {**self._api_headers, **api_headers} if at_api else {}
                    async with await self._request(
                        operation if at_api else Call.ASSET,
                        url,
                        _UNTIMED,
                        {**headers, **own},
                        limit=timeout,
                        is_fresh=is_fresh,
                        is_document=is_document,
                    ) as response:
                        if response.status not in _REDIRECTS:
                            await self._refuse(response)
                            yield response
                            return
                        url = _next_url(url, response)
                        at_api = at_api and url.origin() == self._origin
                        await _drain(response)
                raise UpstreamFailure(Reason.BAD_REDIRECT, "too many redirects")

    async def post(self, operation: str, url: URL, document: Mapping[str, Any], *, seconds: float) -> object:
        """Send a document to the API; returns the one it answers with. Raises `UpstreamFailure`.

        A redirect is refused: it could turn a POST into a GET. The connection is new: whether a request that went out
        on a dead one was received cannot be told, and no POST may be sent twice.
        """
        await self._guard.learn()
        with translate_errors(lambda: Circuit.API, self._key):
            async with await self._request(
                operation,
                url,
                _within(seconds),
                self._api_headers,
                method=hdrs.METH_POST,
                is_fresh=True,
                is_document=True,
                json=document,
            ) as response:
                await self._check(response)
                return await read_document(response)

    async def put(
        self,
        operation: str,
        url: URL,
        body: AsyncIterator[bytes],
        *,
        timeout: asyncio.Timeout,
        headers: Mapping[str, str],
    ) -> None:
        """Send a body to storage, without the key: the URL itself is signed. Raises `UpstreamFailure`.

        `timeout`, which is entered here, bounds it as a whole. The connection is new: a body that went out on a dead
        one would have to be read again.
        """
        with translate_errors(lambda: Circuit.ASSETS, self._key):
            async with timeout:
                await self._guard.learn()
                async with await self._request(
                    operation, url, _UNTIMED, headers, method=hdrs.METH_PUT, limit=timeout, is_fresh=True, data=body
                ) as response:
                    await self._check(response)

    async def _check(self, response: ClientResponse) -> None:
        if response.status in _REDIRECTS:
            raise UpstreamFailure(Reason.BAD_REDIRECT, f"status {response.status}", status=response.status)
        if response.status not in _DONE:
            await self._refuse(response)

    async def _request(
        self,
        operation: str,
        url: URL,
        timeout: ClientTimeout,
        headers: Mapping[str, str],
        *,
        method: str = hdrs.METH_GET,
        limit: asyncio.Timeout | None = None,
        is_fresh: bool = False,
        is_document: bool = False,
        **body: Any,
    ) -> ClientResponse:
        """Send one request; returns the answer once its head is in, to be entered at once."""
        session = self._fresh if is_fresh else self._session
        started = time.monotonic()
        status = "error"
        try:
            response = await session.request(
                method,
                url,
                headers={**headers, **PACKING} if is_document else headers,
                auto_decompress=not is_document,
                allow_redirects=False,
                proxy=self._guard.proxy(url),
                timeout=timeout,
                **body,
            )
            status = str(response.status)
            return response
        except TimeoutError:
            status = "timeout"
            raise
        except asyncio.CancelledError:
            status = "timeout" if limit is not None and limit.expired() else "error"
            raise
        finally:
            self._metrics.upstream_call(operation, status, time.monotonic() - started)

    def masked(self, text: str) -> str:
        """A text of upstream's on one line, without our key."""
        return for_the_log(text, self._key)

    async def _refuse(self, response: ClientResponse) -> None:
        if response.status == 206:
            return
        failure = refusal(response.status, response.headers)
        if failure is not None:
            failure.detail = f"{failure.detail}: {await first_text(response)}"
            raise failure


async def _drain(response: ClientResponse) -> None:
    """Read a small body, so that its connection can be used again."""
    if response.connection is None:  # it came with the head
        return
    if response.content_length is not None and response.content_length <= _SMALL_BODY:
        with suppress(ClientError):  # where to go next is known without it
            await response.read()


@contextmanager
def translate_errors(circuit: Callable[[], Circuit], key: str) -> Iterator[None]:
    """Turn aiohttp's errors, and ours, into an `UpstreamFailure` of the circuit reached that can be logged."""
    try:
        yield
    except UpstreamFailure as failure:
        failure.circuit = circuit()
        failure.detail = for_the_log(failure.detail, key)
        raise
    except (ClientError, TimeoutError, ConnectionError) as error:
        was_sent = not isinstance(error, ClientConnectorError | ConnectionTimeoutError | ClientHttpProxyError)
        raise UpstreamFailure(_reason(error), type(error).__name__, circuit=circuit(), was_sent=was_sent) from error


def _reason(error: Exception) -> Reason:
    if isinstance(error, TimeoutError):
        return Reason.TIMEOUT
    if isinstance(error, ClientPayloadError):
        return Reason.TRUNCATED
    if isinstance(error.os_error if isinstance(error, ClientConnectorError) else error, ForbiddenAddress):
        return Reason.BAD_REDIRECT
    return Reason.BAD_REDIRECT if isinstance(error, InvalidURL) else Reason.UNREACHABLE


def _within(seconds: float) -> ClientTimeout:
    return ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS, sock_read=STALL_SECONDS)


def _next_url(url: URL, response: ClientResponse) -> URL:
    location = response.headers.get(hdrs.LOCATION)
    if not location:
        raise UpstreamFailure(Reason.BAD_REDIRECT, "a redirect without a URL")
    return url_from(url, location)


def url_from(url: URL, location: str) -> URL:
    """The URL that `url` sends us to. Raises `UpstreamFailure` for one that is not to be followed."""
    try:
        # `encoded`: a signed address must be asked for exactly as it was given.
        target = url.join(URL(location, encoded=location.isascii() and " " not in location)).with_fragment(None)
        host = target.host
    except ValueError as error:
        raise UpstreamFailure(Reason.BAD_REDIRECT, "a URL that cannot be read") from error
    if target.scheme not in ("http", "https") or not host or target.user is not None:
        raise UpstreamFailure(Reason.BAD_REDIRECT, f"scheme {target.scheme!r}")
    if url.scheme == "https" and target.scheme == "http":
        raise UpstreamFailure(Reason.BAD_REDIRECT, "from https to http")
    return target
