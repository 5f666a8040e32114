"""One task for all who want the same thing at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class _Flight(Generic[Result]):
    """One task, and how many wait for it."""

    task: asyncio.Task[Result]
    may_stop: Callable[[], bool]
    waiting: int = 0


class SingleFlight(Generic[Result]):
    """At most one running task per key.

    What has begun goes on, also when nobody waits for it any more, unless `may_stop` says that it is of no use then.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[Result]] = {}
        self._stopping: dict[str, set[asyncio.Task[Result]]] = {}

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
        may_stop: Callable[[], bool] = lambda: False,
    ) -> Result:
        """What the task under this key comes to, be it a result or an error; without one, `work` is begun.

        Once nobody waits any more, `may_stop` is asked whether the task is of no use then.
        """
        flight = self._flights.get(key)
        if flight is None or flight.task.done():  # who is woken by its last step comes before its end is noted
            begun = self._begin_behind(key, work) if key in self._stopping else work()
            task = asyncio.create_task(begun, name=f"{name} {key}")
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
                self._stopping.setdefault(key, set()).add(flight.task)

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
        stopping = (task for tasks in self._stopping.values() for task in tasks)
        await asyncio.gather(*(flight.task for flight in flights), *stopping, return_exceptions=True)

    async def _begin_behind(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Begin once those that were cancelled have cleaned up."""
        while stopping := self._stopping.get(key):
            await asyncio.wait(stopping)
        return await work()

    def _ended(self, key: str, task: asyncio.Task[Result]) -> None:
        self._forget(key, task)
        if (stopping := self._stopping.get(key)) is not None:
            stopping.discard(task)
            if not stopping:
                del self._stopping[key]
        if not task.cancelled():
            task.exception()  # seen, so that a failure nobody waited for is not reported as forgotten

    def _forget(self, key: str, task: asyncio.Task[Result]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
