"""Programs of this package as processes of their own, without the second that Python takes to import them.

One process has imported what a service and its commands need, before it has done anything else. Each program is a fork
of it, with arguments, environment, folder and standard streams of its own; it begins where `python -m service` begins,
and ends as that does. It is a child of whoever asked for it. Linux only: elsewhere, and for what needs another
interpreter, see `can_fork`.
"""

import asyncio
import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_PRELOADED = (
    "service.app",
    "service.commands.config",
    "service.commands.demo",
    "service.commands.download",
    "service.commands.sandbox",
    "service.commands.serve",
)
_SET_CHILD_SUBREAPER = 36  # of prctl(2): orphans below become children of this process
_MAX_REQUEST = 100_000
_SECONDS = 60
# What is read when an interpreter starts or a library is imported, and not again.
_READ_AT_START = ("LANG", "LC_", "LD_", "MALLOC_", "OTEL_PROPAGATORS", "OTEL_SPAN_", "PYTHON", "SSL_", "TZ")


class Forked:
    """A running program; as `asyncio.subprocess.Process`, as far as tests need it."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader | None, stderr: asyncio.StreamReader | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._pidfd = os.pidfd_open(pid)
        self._ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def wait(self) -> int:
        """The exit code, once it has ended; negative where a signal ended it."""
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Both outputs to their ends; an output that goes nowhere is empty."""
        output, errors, _ = await asyncio.gather(_all_of(self.stdout), _all_of(self.stderr), self.wait())
        return output, errors

    def send_signal(self, sign: int) -> None:
        """Unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, sign)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set_result(None)


async def _all_of(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


def can_fork(checkout: Path, environment: Mapping[str, str]) -> bool:
    """Whether a program of this checkout can be a fork: not where the environment changes the interpreter itself."""
    changed = {name for name, value in environment.items() if os.environ.get(name) != value}
    if environment.get("PYTHONPATH") == str(_ROOT):
        changed.discard("PYTHONPATH")
    return (
        sys.platform == "linux" and checkout == _ROOT and not any(name.startswith(_READ_AT_START) for name in changed)
    )


async def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | str,
    *,
    module: str = "service",
    keep_output: bool = True,
) -> Forked:
    """Start `python -m MODULE` with these arguments. Without `keep_output` only its errors are kept."""
    output = os.pipe() if keep_output else None
    errors = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDWR)
    streams = [nowhere, output[1] if output else nowhere, errors[1]]
    request = json.dumps(
        {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "folder": str(folder),
        }
    )
    try:
        pid = await asyncio.to_thread(_ask, request.encode(), streams)
    finally:
        for stream in {*streams}:
            os.close(stream)
    return Forked(pid, await _reader(output[0]) if output else None, await _reader(errors[0]))


async def _reader(pipe: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    return reader


_connection: socket.socket | None = None
_asking = threading.Lock()


def _ask(request: bytes, streams: list[int]) -> int:
    """The new process. The first one that is asked for starts the one that is forked."""
    with _asking:
        connection = _connected()
        socket.send_fds(connection, [request], streams)
        return int(connection.recv(_MAX_REQUEST))


def _connected() -> socket.socket:
    """Where forks are asked for: one place for all tests of this process."""
    global _connection
    if _connection is None:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "OTEL"))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        ours.settimeout(_SECONDS)
        _connection = ours
        atexit.register(process.wait)
        atexit.register(ours.close)  # which ends it; called first
    return _connection


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. In a fork: returns what it is to run; in the first process: None once nobody asks."""
    while True:
        request, streams, _, _ = socket.recv_fds(connection, _MAX_REQUEST, 3)
        if not request:
            return None
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            for stream in streams:
                os.close(stream)
            continue
        if child := os.fork():  # whose parent is gone at once
            connection.send(str(child).encode())
            os._exit(0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        connection.close()
        found: dict[str, Any] = json.loads(request)
        return found


def _main() -> None:
    for name in _PRELOADED:
        __import__(name)
    gc.freeze()  # else each fork would copy all of it when it ends
    wanted = _serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is None:
        return
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    sys.stdout = os.fdopen(1, "w", closefd=False)  # the one there is still takes it for what it was before the fork
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    sys.argv[1:] = wanted["arguments"]
    runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
