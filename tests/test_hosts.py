"""URLs and hosts that somebody typed."""

from ipaddress import ip_address

import pytest

from service.hosts import address_of, is_loopback, split


@pytest.mark.parametrize(
    ("host", "is_this_machine"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("batch.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("evil-localhost", False),
        ("localhost.example", False),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_what_is_this_machine_alone(host: str, is_this_machine: bool) -> None:
    """By its names and addresses; nothing that only looks like one, and not all of its addresses together."""
    assert is_loopback(host) is is_this_machine


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("example.com", None),
        ("192.0.2", None),
        ("", None),
    ],
)
def test_which_address_a_host_is(host: str, address: str | None) -> None:
    """Without its zone; one of IPv4 however it is written."""
    assert address_of(host) == (address and ip_address(address))


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://example.com", True),
        ("https://example.com:8443/a?b", True),
        ("https://[::1]:1/", True),
        ("https://example.com:0/", False),
        ("https://example.com:99999/", False),
        ("https://example.com:x/", False),
        ("https://[::1/", False),
        ("https:///a", False),
        ("example.com", False),
        ("//example.com", False),
        ("", False),
    ],
)
def test_what_is_a_url(url: str, is_one: bool) -> None:
    """With a scheme, a host, and a port that can be."""
    assert (split(url) is not None) is is_one
