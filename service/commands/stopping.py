"""How commands are stopped: SIGTERM, and SIGHUP where there is one, end them as Ctrl-C does."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from service.commands.talk import STOPPED, forget

_CAN_BLOCK = hasattr(signal, "pthread_sigmask")  # not on Windows
_SIGNALS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Stop:
    """What has ended a command, if anything has."""

    def __init__(self) -> None:
        self._by = signal.SIGINT
        self._terminals = [stream for stream in (sys.stdout, sys.stderr) if stream and stream.isatty()]

    def exit_code(self, code: int) -> int:
        """That of a command: 128 more than the number of the signal, where one has stopped it."""
        return 128 + self._by if code == STOPPED else code

    def on_signal(self, number: int, _: FrameType | None) -> None:
        """Have done what Ctrl-C does at this moment: asyncio and `demo --keep` take it over for a while.

        Once: the end of a session sends several, and a second Ctrl-C would cut off what the first began.
        """
        if self._by != signal.SIGINT:
            return
        self._by = signal.Signals(number)
        for stream in self._terminals:
            if not stream.isatty():  # closed, which is why SIGHUP came: what is said would be an error
                forget(stream)
        signal.raise_signal(signal.SIGINT)
        if _CAN_BLOCK:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def like_ctrl_c() -> Iterator[Stop]:
    """Within the block the signals are taken so, except those that whoever started this process has it ignore."""
    stop = Stop()
    with ExitStack() as after:
        if _CAN_BLOCK and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # As in the background of a shell. Held back instead it has a handler that asyncio takes over, and we call.
            after.callback(signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, []))
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            after.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                after.callback(signal.signal, number, signal.signal(number, stop.on_signal))
        yield stop
