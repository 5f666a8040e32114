"""Secrets that callers send, judged: nobody guesses them at leisure."""

import hashlib
from collections.abc import Iterable

from aiohttp import web
from limits import parse
from pydantic import SecretStr

from service.api.caller import matching, peer_identity
from service.api.limits import LocalWindow, RateLimiter, Window
from service.telemetry.metrics import Metrics

_LIMIT = parse("10/minute")
_ONCE = parse("1/minute")


class Guesses:
    """Lets an address send ten wrong keys, tokens or webhook secrets a minute, whatever other limits there are."""

    def __init__(self, metrics: Metrics, window: Window | None = None) -> None:
        self._window = window or LocalWindow()
        self._wrong = RateLimiter(_LIMIT, metrics, "attempts", self._window, quiet=True)

    async def judge(self, request: web.Request, given: Iterable[str], secrets: Iterable[SecretStr]) -> SecretStr | None:
        """The secret that was given, in one of the ways of writing it; None when it is wrong.

        Raises `RateLimited` when this address sent too many wrong ones, also for the right one: else the answer to it
        would tell, limit or not. One that is wrong may be sent as often as wrong ones may be.
        """
        caller, ways, known = peer_identity(request), list(given), list(secrets)
        await self._wrong.check(request, caller)
        found = [secret for way in ways if (secret := matching(way, known))]
        if found:
            return found[0]
        # Who sends the same wrong one again and again does not guess: a program with an old key must not lock out all
        # who share its address. It is refused by itself.
        attempt = f"{caller}:{hashlib.sha256(ways[0].encode('utf-8', 'surrogateescape')).hexdigest()}"
        await self._wrong.count(request, attempt)
        if (await self._window.hit(f"attempt:{attempt}", _ONCE)).allowed:
            await self._wrong.count(request, caller)
        return None


GUESSES = web.AppKey("GUESSES", Guesses)
