"""`serve`: the service, until it is stopped."""

import asyncio
import ctypes
import gc
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress

from service.api.accepting import CannotListen
from service.api.connections import listening
from service.app import create_app
from service.commands.refusal import refuse, why_not_listening
from service.data_dir import DataDirUnusable
from service.settings import CannotShare, InvalidSettings, Settings
from service.startup import screen, summary, warnings
from service.telemetry.logs import configure_logs, get_logger
from service.telemetry.scrub import Scrubber

log = get_logger(__name__)

# A stop lets downloads in flight go on for so long; aiohttp grants it twice before it cuts them.
DRAIN_SECONDS = 25.0
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h


def serve(overrides: Mapping[str, object]) -> int:
    """Run the service; `overrides` are settings from the command line."""
    try:
        settings = Settings.load(**overrides)
    except InvalidSettings as error:
        return refuse(error, code=2)
    configure_logs(settings.log_format, settings.log_level, Scrubber(settings.secrets()))
    _give_back_large_blocks()
    try:
        asyncio.run(_serve(settings))
    except CannotShare as error:
        return refuse(error)
    except InvalidSettings as error:
        return refuse(error, code=2)
    except CannotListen as error:
        words = why_not_listening(error.__cause__, settings.host, str(settings.port), "PORT or --port")
        return refuse(f"HOST, PORT: {words or error}")
    except DataDirUnusable as error:
        return refuse(f"DATA_DIR: {error}")
    return 0


def _give_back_large_blocks() -> None:
    """Have memory of a MiB and more given back to the system once it is free.

    By itself glibc does that until it has seen one such block freed; from then on it keeps all of that size. It would
    also keep what is free for each thread by itself; few of ours run at once.
    """
    with suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        library.mallopt(_M_ARENA_MAX, 2)


def spare_collector() -> None:
    """Have the garbage collector pass over what is there now, and stays: to look through it takes a tenth of a second,
    again and again, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


async def _serve(settings: Settings) -> None:
    stop = stop_signal()
    async with listening(create_app(settings), settings.host, settings.port, drain_seconds=DRAIN_SECONDS) as urls:
        _introduce(settings)
        spare_collector()
        for url in urls:
            log.info("listening", url=url)
        await stop.wait()
        log.info("stopping: downloads in flight may finish; a second signal stops at once", seconds=DRAIN_SECONDS)
    log.info("stopped")


def _introduce(settings: Settings) -> None:
    """Say what starts here: on one screen for people, as one event for programs."""
    facts = summary(settings)
    if settings.log_format == "json":
        log.info("starting", **facts)
    else:
        print(screen(facts), file=sys.stderr)
    for warning in warnings(settings):
        log.warning(warning)


def stop_signal() -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in signals:
        loop.add_signal_handler(number, on_signal)
    return stop
