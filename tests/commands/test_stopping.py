"""What a signal does to a command, besides to end it."""

import asyncio
import os
import signal

import pytest

from service.commands.stopping import like_ctrl_c
from service.commands.talk import ALL, STOPPED


def test_what_one_signal_began_another_does_not_cut_off() -> None:
    """At the end of a session several come: of its shell, of its terminal, of systemd."""
    was_undone = False

    async def work() -> None:
        nonlocal was_undone
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0)
            was_undone = True

    with like_ctrl_c() as stop:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(work())
        code = stop.exit_code(STOPPED)

    assert (was_undone, code) == (True, 143)


def test_signals_mean_afterwards_what_they_meant_before() -> None:
    """Also Ctrl-C; and who is not stopped has its own exit code."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers], signal.pthread_sigmask(signal.SIG_BLOCK, [])

    with like_ctrl_c() as stop:
        pass

    assert ([signal.getsignal(number) for number in numbers], signal.pthread_sigmask(signal.SIG_BLOCK, [])) == before
    assert (stop.exit_code(ALL), stop.exit_code(STOPPED)) == (ALL, 130)
