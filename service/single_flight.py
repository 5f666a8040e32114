"""One task for all who want the same thing at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """At most one running task per key. What has begun goes on, also when nobody waits for it any more."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[Result]] = {}

    def running(self, key: str) -> asyncio.Task[Result] | None:
        """The task under this key, while it runs. Await it shielded."""
        task = self._running.get(key)
        return None if task is None or task.done() else task

    def start(self, key: str, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Begin `work` under a key that nothing runs under. Await the task shielded."""
        self._running[key] = task = asyncio.create_task(work, name=f"{name} {key}")
        task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    async def join(self, key: str, work: Callable[[], Coroutine[Any, Any, Result]], name: str) -> Result:
        """What the task under this key comes to, be it a result or an error; without one, `work` is begun."""
        return await asyncio.shield(self.running(key) or self.start(key, work(), name))

    async def close(self) -> None:
        """Cancel what runs and wait for it."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: str, task: asyncio.Task[Result]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, so that a failure nobody waited for is not reported as forgotten
