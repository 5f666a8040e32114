"""The archives that are in memory: those being built, and those that were asked for of late."""

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from service.archives.archive import Archive

if TYPE_CHECKING:
    from service.archives.build import Build

# Archives that nobody reads just now, kept so that their next reader need not restore them.
_RECENT = 64
# Of all that are kept so; 10,000 take 12 MB.
_RECENT_MEMBERS = 50_000
_LESS_SECONDS = 5.0
# By so much two clocks may differ, or two requests overtake each other.
_MORE_SECONDS = 1.0


def may_share(deadline: float, ends: float) -> bool:
    """Whether a request that waits until `deadline` is served by a build that waits until `ends`.

    It may wait a few seconds less than it asked for, but no longer.
    """
    return ends - _MORE_SECONDS <= deadline <= ends + _LESS_SECONDS


def seconds_left(began: float, seconds: float) -> float:
    """What is left of so many seconds that began at `began` (of `time.time`); below 0 when they are over.

    Never more than all of them, wherever the wall clock has jumped to since.
    """
    return min(seconds, began + seconds - time.time())


class Registry:
    """One object per archive id, for as long as somebody uses it."""

    def __init__(self) -> None:
        self.builds: dict[str, Build] = {}
        self._by_key: dict[str, list[Build]] = {}
        self._recent: OrderedDict[str, Archive] = OrderedDict()

    def add(self, build: "Build") -> None:
        self.builds[build.archive.id] = build
        self._by_key.setdefault(build.plan.build_key, []).append(build)
        self.remember(build.archive)

    def remove(self, build: "Build") -> None:
        del self.builds[build.archive.id]
        builds = self._by_key[build.plan.build_key]
        builds.remove(build)
        if not builds:
            del self._by_key[build.plan.build_key]

    def joinable(self, build_key: str, deadline: float) -> "Build | None":
        """A running build for a request that waits until `deadline` (of `time.monotonic`)."""
        for build in self._by_key.get(build_key, ()):
            archive = build.archive
            if archive.is_settled or archive.readers.is_abandoned or not archive.is_joinable:
                continue
            if not build.plan.wait or may_share(deadline, build.deadline):
                return build
        return None

    def is_dropping(self, archive_id: str) -> bool:
        """Whether the build of an archive has been given up here, so that the archive is about to go."""
        build = self.builds.get(archive_id)
        return build is not None and build.archive.readers.is_abandoned

    def remember(self, archive: Archive) -> None:
        """Keep an archive for whoever asks for it next."""
        self._recent[archive.id] = archive
        self._recent.move_to_end(archive.id)
        surplus = len(self._recent) - _RECENT
        idle = (known for known in self._recent.values() if not self._is_used(known))
        too_many = sum(len(known.members) for known in idle) - _RECENT_MEMBERS
        for archive_id, known in list(self._recent.items()):
            if surplus <= 0 and too_many <= 0:
                break
            if known is not archive and not self._is_used(known):
                del self._recent[archive_id]
                surplus, too_many = surplus - 1, too_many - len(known.members)

    def known(self, archive_id: str) -> Archive | None:
        """The archive, if it is in memory and did not fail."""
        archive = self._recent.get(archive_id)
        return archive if archive is not None and archive.failure is None else None

    def live(self) -> set[str]:
        """Ids of the archives that are being built or read."""
        return {archive_id for archive_id, archive in self._recent.items() if self._is_used(archive)}

    def needed(self) -> set[str]:
        """Keys of the images that running builds have, or are about to have."""
        return {image.key for build in self.builds.values() for image in build.current.images}

    def _is_used(self, archive: Archive) -> bool:
        return archive.id in self.builds or archive.readers.is_used
