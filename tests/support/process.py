"""The service as a process of its own, as an operator runs it."""

import asyncio
import logging
import os
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.forked import Forked, can_fork, start

log = logging.getLogger(__name__)

_ROOT = Path(__file__).parents[2]
CHECKOUT = Path(os.environ.get("CHECKOUT") or _ROOT)
"""Whose service is tried as a process of its own: that of another checkout, to see tests fail there, or this one's."""
_LISTENING = re.compile(rb'"(?:url|address)": "http://127\.0\.0\.1:(\d+)"')


def clean_environment(**more: str) -> dict[str, str]:
    """What a program needs to run this package, without the developer's own settings."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
    return {**kept, "PYTHONPATH": str(_ROOT), **more}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, all its threads included, to the nanosecond. Linux only."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's name for the CPU clock of a process


def peak_memory(pid: int) -> int:
    """The most bytes a process has had in memory at once. Linux only."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


async def end_of(process: asyncio.subprocess.Process | Forked, seconds: float) -> tuple[bytes, bytes]:
    """Both outputs of a program that ends by itself. Kills it and raises `TimeoutError` when it does not in time."""
    try:
        async with asyncio.timeout(seconds):
            return await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class ServiceProcess:
    """`python -m service serve` on a free port; `settings` are environment variables. Use with `async with`."""

    below: tuple[str, ...] = ()
    """The program, with its arguments, that starts it."""
    module = "service"
    """What Python is to run."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        own = {"DATA_DIR": str(data_dir), "PORT": "0", "LOG_FORMAT": "json"}
        self._environment = clean_environment(PYTHONPATH=str(CHECKOUT)) | own | settings
        self._process: asyncio.subprocess.Process | Forked | None = None
        self._log: asyncio.Task[None] | None = None
        self.log: list[str] = []
        self.url = ""

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def peak_memory(self) -> int:
        """The most bytes the process has had in memory at once."""
        return peak_memory(self.pid)

    @property
    def memory(self) -> int:
        """Bytes the process has in memory now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    @property
    def open_files(self) -> Counter[str]:
        """How many file descriptors are open, by what they lead to: `socket`, `pipe`, or the name of a file."""
        found: Counter[str] = Counter()
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                found[str(descriptor.readlink()).partition(":[")[0].rpartition("/")[2]] += 1
        return found

    async def start(self) -> None:
        """Start and wait until it listens."""
        folder = self._environment["DATA_DIR"]  # no .env of the developer's
        if not self.below and can_fork(CHECKOUT, self._environment):
            self._process = await start(["serve"], self._environment, folder, module=self.module, keep_output=False)
        else:
            self._process = await asyncio.create_subprocess_exec(
                *(*self.below, sys.executable, "-m", self.module, "serve"),
                env=self._environment,
                cwd=folder,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.log.append(line.decode())
            if b"listening" in line and (found := _LISTENING.search(line)):
                self.url = f"http://127.0.0.1:{found[1].decode()}"
                break
        else:
            raise RuntimeError(f"the service did not start: {''.join(self.log)}")
        self._log = asyncio.create_task(self._keep_log(self._process.stderr))

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(sign)
        code = await self._process.wait()
        if self._log is not None:
            await self._log
        if faults := [line for line in self.log if '"level": "info"' not in line]:
            log.info("%s:\n%s", self.url, "".join(faults))  # pytest shows it with a test that failed
        return code

    async def kill(self) -> None:
        """End it as a power cut would end the process."""
        await self.stop(signal.SIGKILL)

    async def _keep_log(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.log.append(line.decode())

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(Path(self._environment["DATA_DIR"]).mkdir, parents=True, exist_ok=True)
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()
