"""How many connections there may be, in all and from one address. No socket is opened."""

import resource
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import admission
from service.api.admission import Admission, connections_within, peer_group, raise_file_limit
from tests.support.transport import FakeClock


class Held:
    """A connection that may be told to go."""

    def __init__(self) -> None:
        self.is_evicted = False

    def evict(self) -> None:
        self.is_evicted = True


def test_the_longest_idle_one_makes_room() -> None:
    """It counts no more then; the busy ones stay."""
    admission, held = Admission(4), [Held() for _ in range(4)]
    for number, connection in enumerate(held):
        assert admission.admit(connection, f"10.0.0.{number}")
    admission.busy(held[0], "10.0.0.0")
    newcomer = Held()

    assert admission.admit(newcomer, "10.0.0.9")

    assert [connection.is_evicted for connection in held] == [False, True, False, False]
    assert admission.total == 4


def test_where_all_are_busy_nobody_is_let_in() -> None:
    """Nothing that is being answered is ended."""
    admission, held = Admission(2), [Held(), Held()]
    for number, connection in enumerate(held):
        admission.admit(connection, f"10.0.0.{number}")
        admission.busy(connection, f"10.0.0.{number}")

    assert not admission.admit(Held(), "10.0.0.9")
    assert (admission.total, any(connection.is_evicted for connection in held)) == (2, False)


def test_one_address_has_a_quarter_and_trusted_ones_as_many_as_they_like() -> None:
    """Of its own idle connections the oldest goes for its next one."""
    admission, mine = Admission(8, [ip_network("10.0.0.0/8")]), [Held() for _ in range(3)]
    for connection in mine:
        assert admission.admit(connection, "192.0.2.1")
    proxied = [Held() for _ in range(5)]
    for connection in proxied:
        assert admission.admit(connection, "10.0.0.1")

    assert [connection.is_evicted for connection in mine] == [True, False, False]
    assert not any(connection.is_evicted for connection in proxied)


def test_an_address_over_its_share_ends_none_of_another_address() -> None:
    """Although one of another has been idle for longer."""
    admission, other, mine = Admission(8), Held(), [Held() for _ in range(2)]
    admission.admit(other, "192.0.2.2")
    for connection in mine:
        admission.admit(connection, "192.0.2.1")

    assert admission.admit(Held(), "192.0.2.1")

    assert [connection.is_evicted for connection in (other, *mine)] == [False, True, False]


def test_one_that_becomes_busy_leaves_the_other_idle_ones_of_its_address_known() -> None:
    """They make room for its next one."""
    admission, mine = Admission(12), [Held() for _ in range(3)]
    for connection in mine:
        admission.admit(connection, "192.0.2.1")
    admission.busy(mine[0], "192.0.2.1")

    assert admission.admit(Held(), "192.0.2.1")
    assert [connection.is_evicted for connection in mine] == [False, True, False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix", "unix", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_a_network_of_ipv6_is_one_caller(one: str, other: str, same: bool) -> None:
    """An address of IPv4 is one by itself, also where IPv6 is listened to."""
    assert (peer_group(one) == peer_group(other)) is same


@given(st.lists(st.tuples(st.sampled_from(["admit", "busy", "idle", "leave"]), st.integers(0, 3)), max_size=80))
def test_whatever_happens_the_counts_are_right(steps: list[tuple[str, int]]) -> None:
    """Never more than the limit, and all that are in can leave."""
    admission, here = Admission(4), dict[Held, str]()
    for step, number in steps:
        address = f"10.0.0.{number}"
        of_address = [connection for connection, where in here.items() if where == address]
        if step == "admit":
            newcomer = Held()
            if admission.admit(newcomer, address):
                here[newcomer] = address
            here = {connection: where for connection, where in here.items() if not connection.is_evicted}
        elif of_address:
            getattr(admission, step)(of_address[0], address)
            if step == "leave":
                del here[of_address[0]]
        assert admission.total == len(here) <= 4
    for connection, address in here.items():
        admission.leave(connection, address)

    assert admission.total == 0


@pytest.mark.parametrize(
    ("files", "connections"), [(0, 16), (128, 16), (162, 17), (1_024, 448), (65_536, 16_384), (9**9, 16_384)]
)
def test_how_many_connections_so_many_files_allow(files: int, connections: int) -> None:
    """Each may have an image open besides itself."""
    assert connections_within(files) == connections


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "changed", "files"),
    [
        (1_024, 4_096, [(4_096, 4_096)], 4_096),
        (1_024, 1_000_000, [(65_536, 1_000_000)], 65_536),
        (1_024, INFINITE, [(65_536, INFINITE)], 65_536),
        (4_096, 4_096, [], 4_096),
        (100_000, 1_000_000, [], 100_000),
        (INFINITE, INFINITE, [], 65_536),
    ],
)
def test_as_many_files_as_may_be_are_opened(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, changed: list[tuple[int, int]], files: int
) -> None:
    """Within reason; none are taken away that there were."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))

    assert (raise_file_limit(), asked) == (files, changed)


def test_too_many_are_told_of_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come."""
    clock, told = FakeClock(), list[str]()
    monkeypatch.setattr(admission, "time", clock)
    monkeypatch.setattr(admission.log, "warning", lambda *_, address, **__: told.append(address))
    full = Admission(0)
    for address, seconds in (("192.0.2.1", 0), ("192.0.2.2", 59), ("192.0.2.3", 2), ("192.0.2.4", 1)):
        clock.advance(seconds)
        assert not full.admit(Held(), address)

    assert told == ["192.0.2.1", "192.0.2.3"]
