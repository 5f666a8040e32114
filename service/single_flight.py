"""One task for all who want the same thing at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

Result = TypeVar("Result")


def _never() -> bool:
    return False


@dataclass(eq=False, slots=True)
class _Flight(Generic[Result]):
    """One task, and how many wait for it."""

    task: asyncio.Task[Result]
    may_stop: Callable[[], bool]
    waiting: int = 0


class SingleFlight(Generic[Result]):
    """At most one running task per key. What has begun goes on, also when nobody waits for it any more."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[Result]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def is_running(self, key: str) -> bool:
        """Whether there is a task under this key that can be joined."""
        flight = self._flights.get(key)
        return flight is not None and not flight.task.done()

    async def join(
        self,
        key: str,
        work: Callable[[], Coroutine[Any, Any, Result]],
        name: str,
        *,
        may_stop: Callable[[], bool] = _never,
    ) -> Result:
        """What the task under this key comes to, be it a result or an error; without one, `work` is begun.

        Once nobody waits any more, `may_stop` is asked whether the task is of no use then.
        """
        flight = self._flights.get(key)
        if flight is None or flight.task.done():  # who is woken by its last step comes before its end is noted
            task = asyncio.create_task(self._run(key, work), name=f"{name} {key}")
            flight = self._flights[key] = _Flight(task, may_stop)
            task.add_done_callback(partial(self._ended, key))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done() and flight.may_stop():
                flight.task.cancel()
                self._forget(key, flight.task)  # nobody may join it from here on

    async def close(self, grace: float = 0.0) -> None:
        """Cancel what runs and wait for it; what may not stop has `grace` seconds to finish."""
        flights = list(self._flights.values())
        for flight in flights:
            if flight.may_stop():
                flight.task.cancel()  # first, else it would go on as soon as another one ends
        if grace and (begun := [flight.task for flight in flights if not flight.may_stop()]):
            await asyncio.wait(begun, timeout=grace)
        for flight in flights:
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    async def _run(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:  # one that was cancelled may still be cleaning up
            return await work()

    def _ended(self, key: str, task: asyncio.Task[Result]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # seen, so that a failure nobody waited for is not reported as forgotten

    def _forget(self, key: str, task: asyncio.Task[Result]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
