"""Which addresses may be connected to, and through which proxy."""

import asyncio
import base64
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from yarl import URL

from service.reasons import Reason
from service.upstream.answers import UpstreamFailure
from service.upstream.models import Rendition
from service.upstream.network import AddressGuard, ForbiddenAddress, Proxies, Resolver, is_public_host, open_session
from tests.support.samples import jpeg
from tests.support.transport import PUBLIC_BASE, TIMEOUT, MemoryBody, download, in_attempts, open_client
from tests.support.transport_calls import admit_all
from tests.support.upstream import FakeUpstream, Reply

# One or more of each entry of IANA's special-purpose registries, of multicast, and of every way to write an IPv4
# address in an IPv6 one.
INWARD = [
    "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.9.10", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.0.192", "192.0.2.1",
    "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.251", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "100::1", "100:0:0:1::1", "2001::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1",
    "2001:10::1",
    "2001:20::1", "2001:30::1", "2001:db8::1", "2002:808:808::1", "2002:7f00:1::1", "2620:4f:8000::1", "3fff::1",
    "4000::1",
    "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1",
    "ff0e::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:168.63.129.16",
    "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "64:ff9b:1::8.8.8.8",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:192.168.0.1",
    "fe80::5efe:8.8.8.8",
]  # fmt: skip
OUTWARD = [
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "168.63.129.15", "172.15.255.255", "172.32.0.1", "192.0.1.1",
    "198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888", "2001:200::1",
    "2003::1", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::5efe:8.8.8.8",
]  # fmt: skip


def entry(address: str) -> tuple[Any, ...]:
    """As `getaddrinfo` gives it."""
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 443, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))


def may_connect(guard: AddressGuard, address: str) -> bool:
    try:
        guard.open_socket(entry(address)).close()
    except ForbiddenAddress:
        return False
    return True


@pytest.mark.parametrize("address", INWARD)
async def test_behind_a_public_api_inward_addresses_are_refused(address: str) -> None:
    """Whatever is not for the public network, in both families and in every mix of them; cloud metadata, too."""
    guard = AddressGuard(PUBLIC_BASE)
    await guard.learn()

    assert not may_connect(guard, address)


@pytest.mark.parametrize("address", OUTWARD)
async def test_public_addresses_are_always_allowed(address: str) -> None:
    """In both families; no connection is made for it."""
    guard = AddressGuard(PUBLIC_BASE)
    await guard.learn()

    assert may_connect(guard, address)


@pytest.mark.parametrize("base", ["http://127.0.0.1:9/v3", "http://[::1]:9/v3", "http://10.0.0.7/v3"])
async def test_a_private_api_switches_the_guard_off(base: str) -> None:
    """A sandbox redirects within the same network."""
    guard = AddressGuard(URL(base))
    await guard.learn()

    assert may_connect(guard, "127.0.0.1")


async def test_one_inward_address_among_public_ones_keeps_the_guard_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray record of a public API's name is no reason to open our network."""
    guard = AddressGuard(URL("https://api.example/v3"))

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [entry("8.8.8.8"), entry("10.0.0.7")])
    await guard.learn()

    assert not may_connect(guard, "10.0.0.7")


async def test_a_name_that_turns_inward_is_refused_when_it_does(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may be public when it is looked at and lead inwards when it is used: what is connected to counts."""
    upstream.images["a"] = jpeg()
    port = URL(upstream.url).port
    lookups: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> Any:
        lookups.append(host)
        address = "8.8.8.8" if len(lookups) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = URL(f"http://rebinding.example:{port}/v3/images/a/enhanced")

    # The first answer is the guard's, who takes the API for a public one; the second is the connection's.
    async with open_client("http://rebinding.example/v3") as parts:
        with pytest.raises(UpstreamFailure) as raised:
            async with parts.transport.get(
                "image", url, timeout=asyncio.timeout(TIMEOUT), headers={}, api_headers={}, admit=admit_all
            ):
                pytest.fail("it was let through")

    assert len(lookups) >= 2
    assert raised.value.reason is Reason.BAD_REDIRECT
    assert upstream.received == []


async def test_an_api_that_cannot_be_found_keeps_the_guard_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is looked for again with the next call."""
    guard = AddressGuard(URL("https://api.example/v3"))
    answers: list[Any] = [socket.gaierror("no such name"), [entry("10.0.0.7")], AssertionError("asked again")]

    def getaddrinfo(*_: object, **__: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    await guard.learn()
    before = may_connect(guard, "127.0.0.1")
    await guard.learn()
    after = may_connect(guard, "127.0.0.1")
    await guard.learn()

    assert (before, after) == (False, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_call_that_would_go_inward_is_a_bad_redirect(upstream: FakeUpstream, host: str) -> None:
    """By address or by name: no connection is made, and it is not taken for a broken upstream."""
    upstream.images["a"] = jpeg()
    url = URL(f"{upstream.url}/images/a/enhanced").with_host(host)

    async with open_client(upstream.url, guard=AddressGuard(PUBLIC_BASE)) as parts:
        with pytest.raises(UpstreamFailure) as raised:
            async with parts.transport.get(
                "image", url, timeout=asyncio.timeout(TIMEOUT), headers={}, api_headers={}, admit=admit_all
            ):
                pytest.fail("it was let through")

    assert raised.value.reason is Reason.BAD_REDIRECT
    assert not raised.value.breaks_circuit
    assert upstream.received == []


def test_no_address_is_public_that_python_takes_for_private() -> None:
    """One address of every IPv4 network of twelve bits, and of every IPv6 network of sixteen."""
    addresses = [ipaddress.IPv4Address(block << 20) for block in range(1 << 12)]
    addresses += [ipaddress.IPv6Address(block << 112 | 1) for block in range(1 << 16)]  # type: ignore[misc]

    public = [ip for ip in addresses if is_public_host(str(ip))]

    assert [ip for ip in public if not ip.is_global or ip.is_multicast] == []
    assert len(public) > 10_000


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("example.com", True),
        ("localhost", False),
        ("LOCALHOST.", False),
        ("a.localhost", False),
        ("localhost.example", True),
        ("2130706433", False),
        ("0x7f.1", False),
        ("0", False),
        ("10.2313", False),
        ("0177.0.0.1", False),
        ("134744072", True),
        ("127.0.0.1.example", True),
    ],
)
def test_a_name_may_be_public(host: str, may: bool) -> None:
    """Until it is looked up; but not one that means this machine, nor an address in another spelling."""
    assert is_public_host(host) is may


async def test_a_slow_name_server_keeps_nothing_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names are being looked up: other work has the default threads for itself."""
    release = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> Any:
        assert release.wait(TIMEOUT)
        return [entry("8.8.8.8")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    resolver = Resolver()
    lookups = [asyncio.create_task(resolver.resolve(f"name-{number}", 443)) for number in range(20)]
    await asyncio.sleep(0)

    async with asyncio.timeout(TIMEOUT):
        other = await asyncio.to_thread(lambda: "done")
        release.set()
        found = await asyncio.gather(*lookups)
    await resolver.close()

    assert other == "done"
    assert {(answers[0]["host"], answers[0]["port"]) for answers in found} == {("8.8.8.8", 443)}


class TestProxies:
    @pytest.mark.parametrize(
        ("url", "proxy"),
        [
            ("https://api.example/v3", "http://proxy.example:3128"),
            ("http://api.example/v3", "http://10.0.0.9:8080"),
            ("https://direct.example/v3", None),
            ("https://sub.direct.example/v3", None),
            ("https://notdirect.example/v3", "http://proxy.example:3128"),
            ("https://a.internal:8443/", None),
            ("http://10.1.1.1/", None),
            ("http://127.0.0.1:9/v3", None),
            ("http://localhost:9/v3", None),
            ("http://[::1]:9/v3", None),
        ],
    )
    def test_which_one_is_used(self, url: str, proxy: str | None) -> None:
        """By scheme; not for the names of `NO_PROXY`, and never for this machine."""
        found = Proxies(
            {"https": "http://proxy.example:3128", "http": "10.0.0.9:8080", "no": "direct.example,.internal,10.1.1.1"}
        ).get(URL(url))

        assert found == (URL(proxy) if proxy else None)

    def test_they_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lower-case form comes first, and an empty one is none."""
        monkeypatch.setenv("HTTPS_PROXY", "http://upper.example:1")
        monkeypatch.setenv("https_proxy", "http://lower.example:1")
        monkeypatch.setenv("http_proxy", "")
        monkeypatch.setenv("NO_PROXY", "direct.example")

        proxies = Proxies()

        assert proxies.get(URL("https://api.example")) == URL("http://lower.example:1")
        assert proxies.get(URL("http://api.example")) is None
        assert proxies.get(URL("https://direct.example")) is None

    @pytest.mark.parametrize("value", ["socks5://user:secret@proxy:1080", "https://proxy:1", "http://", "http://a:b"])
    def test_what_is_no_http_proxy_is_refused(self, value: str) -> None:
        """In one line that names the variable, and not the password."""
        with pytest.raises(ValueError, match=r"^HTTPS_PROXY must be") as raised:
            Proxies({"https": value})

        assert "secret" not in str(raised.value)


class Proxy:
    """A small HTTP proxy that knows where each name leads; keeps what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.leads_to: dict[str, URL] = {}
        self.asked: list[tuple[str, str]] = []
        self.authorization: list[str | None] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        self.asked.append((method, target))
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        self.authorization.append(headers.pop("Proxy-Authorization", None))
        url = URL(target, encoded=True)
        there = self.leads_to.get(url.host or "") if method == "GET" else None
        if there is None:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            far_reader, far_writer = await asyncio.open_connection(there.host, there.port)
            lines = [f"{method} {url.raw_path_qs} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
            far_writer.write(("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode())
            writer.write(await far_reader.read())
            far_writer.close()
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Listening on loopback."""
    proxy = Proxy()
    async with proxy.serving():
        yield proxy


@pytest.fixture
def lookups() -> list[str]:
    """The names that were looked up."""
    return []


@pytest.fixture(params=["127.0.0.1", "proxy.example"])
def proxy_url(request: pytest.FixtureRequest, proxy: Proxy, lookups: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The proxy's address, spelled out or by a name that leads inwards; other names cannot be looked up here."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> Any:
        lookups.append(host)
        if host not in ("proxy.example", "localhost"):
            raise socket.gaierror("no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return f"http://user:secret@{request.param}:{proxy.port}"


async def test_images_come_through_the_proxy(
    upstream: FakeUpstream, proxy: Proxy, proxy_url: str, lookups: list[str]
) -> None:
    """Names are the proxy's business; its private address is no obstacle, and its password goes to nobody else."""
    upstream.images["a"] = jpeg()
    proxy.leads_to["api.example"] = URL(upstream.url)
    guard = AddressGuard(URL("http://api.example/v3"), Proxies({"http": proxy_url}))

    async with open_client("http://api.example/v3", guard=guard) as parts:
        extension, attempts = await download(parts)

    assert (extension, attempts) == ("jpg", 1)
    assert "api.example" not in lookups
    assert [method for method, _ in proxy.asked] == ["GET"] * len(proxy.asked)
    assert all(target.startswith("http://api.example/v3/images/a/enhanced?") for _, target in proxy.asked)
    assert set(proxy.authorization) == {"Basic " + base64.b64encode(b"user:secret").decode()}
    assert all("Proxy-Authorization" not in request.headers for request in upstream.received)


async def test_an_encrypted_call_asks_the_proxy_for_a_tunnel(proxy: Proxy, proxy_url: str) -> None:
    """A proxy that refuses it is a connection that fails, with nothing sent; nothing goes around it."""
    guard = AddressGuard(PUBLIC_BASE, Proxies({"https": proxy_url}))

    async with open_client("https://api.example/v3", guard=guard) as parts:
        fetched = parts.client.image("a", Rendition(), MemoryBody())
        with pytest.raises(UpstreamFailure) as raised:
            await in_attempts(parts, fetched)

    assert (raised.value.reason, raised.value.was_sent, fetched.attempts) == (Reason.UNREACHABLE, False, 3)

    assert set(proxy.asked) == {("CONNECT", "api.example:443")}


@pytest.mark.parametrize("inward", ["127.0.0.1", "localhost", "10.0.0.1", "[::1]", "[::ffff:169.254.169.254]"])
async def test_nothing_else_that_is_private_passes(
    upstream: FakeUpstream, proxy: Proxy, proxy_url: str, inward: str
) -> None:
    """A redirect inwards is neither followed directly nor handed to the proxy."""
    proxy.leads_to["api.example"] = URL(upstream.url)
    guard = AddressGuard(URL("http://api.example/v3"), Proxies({"http": proxy_url}))

    async with open_client("http://api.example/v3", guard=guard) as parts:
        with pytest.raises(UpstreamFailure) as raised:
            async with parts.transport.get(
                "image",
                URL(f"http://{inward}:{URL(upstream.url).port}/v3/images/a/enhanced"),
                timeout=asyncio.timeout(TIMEOUT),
                headers={},
                api_headers={},
                admit=admit_all,
            ):
                pytest.fail("it was let through")

    assert raised.value.reason is Reason.BAD_REDIRECT
    assert proxy.asked == []
    assert upstream.received == []


@pytest.mark.parametrize("neighbour", ["another address", "another port"])
async def test_a_proxy_opens_no_other_door(proxy: Proxy, neighbour: str) -> None:
    """Its host and port are let through together, and only together."""
    guard = AddressGuard(PUBLIC_BASE, Proxies({"https": "http://10.0.0.9:443"}))
    await guard.learn()

    assert may_connect(guard, "10.0.0.9")
    if neighbour == "another address":
        assert not may_connect(guard, "10.0.0.8")
    else:
        with pytest.raises(ForbiddenAddress):
            guard.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.9", 22)))


@pytest.mark.parametrize(("base", "may"), [("http://10.1.2.3:8000", True), (str(PUBLIC_BASE), False)])
async def test_through_a_proxy_a_private_api_may_lead_to_its_neighbours(base: str, may: bool) -> None:
    """As it may without one; a public API may not."""
    proxy = "http://10.0.0.9:3128"
    guard = AddressGuard(URL(base), Proxies({"http": proxy, "https": proxy}))
    await guard.learn()

    if may:
        assert guard.proxy(URL("http://10.1.2.4:9000/a")) == URL(proxy)
    else:
        with pytest.raises(ForbiddenAddress):
            guard.proxy(URL("http://10.1.2.4:9000/a"))


async def test_a_session_keeps_no_cookies() -> None:
    """Also those of a host with a name, which browsers would send back."""
    async with open_session(AddressGuard(PUBLIC_BASE)) as session:
        session.cookie_jar.update_cookies({"who": "somebody"}, URL("https://api.example/"))

        assert not session.cookie_jar.filter_cookies(URL("https://api.example/"))


async def test_headers_may_be_long(upstream: FakeUpstream) -> None:
    """As the addresses are that storage signs."""
    upstream.images["a"] = Reply(body=jpeg(), headers={"X-Signed": "x" * 60_000})

    async with open_client(upstream.url) as parts:
        assert await download(parts) == ("jpg", 1)
