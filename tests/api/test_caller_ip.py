"""Whose address counts, by what proxies say."""

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.caller import behind_proxies

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
inside = st.ip_addresses(network="10.0.0.0/8").map(str)
outside = st.ip_addresses(v=4).filter(lambda one: one not in IPv4Network("10.0.0.0/8")).map(str)
# What a caller may write: addresses, commas, and anything else.
forged = st.one_of(st.text(), st.lists(st.one_of(inside, outside, st.text(max_size=5))).map(",".join))


@given(peer=outside, claims=st.lists(forged))
def test_whoever_is_no_proxy_speaks_for_itself(peer: str, claims: list[str]) -> None:
    """Nothing that an untrusted peer sends changes what it is."""
    assert behind_proxies(peer, claims, PROXIES) == ip_address(peer)


@given(peer=inside, claims=forged)
def test_without_trusted_proxies_nobody_is_believed(peer: str, claims: str) -> None:
    """The setting is empty unless an operator sets it."""
    assert behind_proxies(peer, [claims], ()) == ip_address(peer)


@given(chain=st.lists(inside, min_size=1), caller=outside, claims=st.lists(forged))
def test_what_a_caller_forged_is_never_reached(chain: list[str], caller: str, claims: list[str]) -> None:
    """However many proxies are in between, and in however many header lines it stands."""
    *added, peer = chain

    found = behind_proxies(peer, [*claims, ", ".join([caller, *added])], PROXIES)

    assert found == ip_address(caller)


@given(peer=inside, claims=st.lists(forged))
def test_any_header_gives_an_address(peer: str, claims: list[str]) -> None:
    """No header makes an error, or a caller without an address."""
    assert behind_proxies(peer, claims, PROXIES) is not None


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", "10.1.1.1"),
        ("192.0.2.7,", "10.1.1.1"),
        ("", "10.1.1.1"),
    ],
)
def test_the_forms_that_proxies_write(claim: str, found: str) -> None:
    """With ports, brackets, zones and mapped addresses; what is none leaves the proxy's own."""
    assert behind_proxies("10.1.1.1", [claim], PROXIES) == ip_address(found)


def test_a_mapped_peer_is_the_address_that_it_maps() -> None:
    """A socket that listens for both families shows IPv4 callers so."""
    assert behind_proxies("::ffff:10.1.1.1", ["192.0.2.7"], PROXIES) == IPv4Address("192.0.2.7")
