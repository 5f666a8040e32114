"""Which addresses may be connected to."""

import asyncio
import socket
from typing import Any

import pytest
from yarl import URL

from service.reasons import Reason
from service.upstream.answers import UpstreamFailure
from service.upstream.network import AddressGuard, ForbiddenAddress
from tests.fakes.samples import jpeg
from tests.fakes.upstream import FakeUpstream
from tests.upstream.helpers import PATIENCE, PUBLIC_BASE, open_client

INWARD = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "224.0.0.251", "255.255.255.255", "::1", "::", "fe80::1%lo", "fd00::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1",
]  # fmt: skip
OUTWARD = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


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
    """Loopback, private, link-local, shared, documentation, multicast, and the same in IPv6's clothes."""
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

    async def getaddrinfo(*_: object, **__: object) -> Any:
        return [entry("8.8.8.8"), entry("10.0.0.7")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    await guard.learn()

    assert not may_connect(guard, "10.0.0.7")


async def test_a_name_that_turns_inward_is_refused_when_it_does(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may be public when it is looked at and lead inwards when it is used: what is connected to counts."""
    upstream.images["a"] = jpeg()
    port = URL(upstream.url).port
    lookups: list[str] = []

    async def getaddrinfo(host: str, *_: object, **__: object) -> Any:
        lookups.append(host)
        address = "8.8.8.8" if len(lookups) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    url = URL(f"http://rebinding.example:{port}/v3/images/a/enhanced")

    # The first answer is the guard's, who takes the API for a public one; the second is the connection's.
    async with open_client("http://rebinding.example/v3") as parts:
        with pytest.raises(UpstreamFailure) as raised:
            async with parts.transport.get(
                "image", url, seconds=PATIENCE, headers={}, api_headers={}, reach=lambda _: None
            ):
                pytest.fail("it was let through")

    assert len(lookups) >= 2
    assert raised.value.reason is Reason.BAD_REDIRECT
    assert upstream.received == []


async def test_an_api_that_cannot_be_found_keeps_the_guard_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is looked for again with the next call."""
    guard = AddressGuard(URL("https://api.example/v3"))
    answers: list[Any] = [socket.gaierror("no such name"), [entry("10.0.0.7")], AssertionError("asked again")]

    async def getaddrinfo(*_: object, **__: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
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
                "image", url, seconds=PATIENCE, headers={}, api_headers={}, reach=lambda _: None
            ):
                pytest.fail("it was let through")

    assert raised.value.reason is Reason.BAD_REDIRECT
    assert not raised.value.breaks_circuit
    assert upstream.received == []
