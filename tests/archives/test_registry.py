"""Which builds requests may share."""

from dataclasses import replace
from unittest.mock import Mock

import pytest

from service.archives import registry as registry_module
from service.archives.archive import Archive, State
from service.archives.plan import Plan
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


def test_large_archives_leave_memory_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given room for three members: what is in use, and what was asked for last, stays whatever it has."""
    monkeypatch.setattr(registry_module, "_RECENT_MEMBERS", 3)
    registry, archives = Registry(), [archive_of(plan_of("a")) for _ in range(4)]
    for archive in archives:
        archive.members = [Mock()] * 2
    with archives[0].readers.reading():
        for archive in archives:
            registry.remember(archive)

    assert [registry.known(archive.id) is archive for archive in archives] == [True, False, False, True]


def build_of(archive: Archive, plan: Plan, current: Plan) -> Mock:
    """A build of this archive, planned as `plan`, whose order is now as `current`."""
    return Mock(archive=archive, plan=plan, current=current, deadline=0.0)


@pytest.mark.parametrize("end", ["settled", "abandoned", "cut off", None])
def test_a_build_is_joined_until_it_ends(end: str | None) -> None:
    """What has ended has the images that it has, though its task is not over; so has what nobody can go on with."""
    plan, registry = plan_of("a"), Registry()
    build = build_of(archive_of(plan), plan, plan)
    registry.add(build)
    if end == "settled":
        build.archive.settle(State.PARTIAL, "")
    build.archive.readers.is_abandoned = end == "abandoned"
    build.archive.is_joinable = end != "cut off"

    assert (registry.joinable(plan.build_key, 0) is build) is (end is None)


def test_who_does_not_wait_for_images_joins_whatever_his_time() -> None:
    """Nobody's end comes later for it: the build waits for none."""
    plan, registry = plan_of("a"), Registry()
    build = build_of(archive_of(plan), plan, plan)
    registry.add(build)

    assert [registry.joinable(plan.build_key, deadline) for deadline in (-100, 0, 100)] == [build] * 3


def test_what_was_made_anew_since_it_was_planned_is_needed() -> None:
    """It is what the build will fetch."""
    plan, registry = plan_of("a", "b"), Registry()
    anew = plan.model_copy(update={"images": (replace(plan.images[0], key="a.1"), plan.images[1])})
    registry.add(build_of(archive_of(plan), plan, anew))

    assert registry.needed() == {"a.1", "b.0"}
