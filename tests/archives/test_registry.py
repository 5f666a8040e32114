"""Which builds requests may share."""

import pytest

from service.archives import registry as registry_module
from service.archives.registry import Registry, may_share
from tests.support.plans import archive_of, plan_of


@pytest.mark.parametrize(
    ("wanted", "shares"),
    [(90, False), (98.9, False), (99.1, True), (100, True), (102.5, True), (105, True), (105.1, False), (700, False)],
)
def test_a_build_until_100_serves_who_waits_about_as_long(wanted: float, shares: bool) -> None:
    """A caller may get up to five seconds less than it asked for; it is not kept for longer, but for a second."""
    assert may_share(wanted, 100) is shares


def test_what_was_asked_for_longest_ago_leaves_memory_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask again is to be asked for last."""
    monkeypatch.setattr(registry_module, "_RECENT", 2)
    registry, archives = Registry(), [archive_of(plan_of("a")) for _ in range(3)]
    for archive in (archives[0], archives[1], archives[0], archives[2]):
        registry.remember(archive)

    assert [registry.known(archive.id) is archive for archive in archives] == [True, False, True]
