"""What all tests share: plain logs, and a loop that must not be blocked."""

import gc
import logging
import os
import shutil
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
import structlog
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from service.telemetry.logs import configure_logs

# Files of tests in memory, where there is plenty: a third of the time of a test with a service is waiting for the disk.
_MEMORY, _PLENTY = Path("/dev/shm"), 8 << 30
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _PLENTY:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# How long an example takes says how busy the machine is.
# A hundred examples, as it is by itself, find little that thirty do not, every time anew; the soak tries thousands.
settings.register_profile("patient", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
# For the soak, which says how many.
settings.register_profile("long", max_examples=int(os.environ.get("LONG_EXAMPLES", "2000")))


@pytest.fixture(autouse=True, scope="session")
def logs() -> None:
    """Logs as a terminal shows them, kept by pytest for the tests that fail."""
    configure_logs("console", "INFO")
    structlog.configure(cache_logger_on_first_use=False)
    logging.getLogger().handlers.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that are given more time than others, some in each process: none is left for the end, when
    the other processes have nothing to do but wait for it."""
    long: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (long if item.get_closest_marker("timeout") else others).append(item)
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items.clear()
    for left in range(processes, 0, -1):  # xdist gives each a part of the sequence, and steals from its end
        size, first = (len(long) + len(others)) // left, len(long) // left
        items += long[:first] + others[: size - first]
        del long[:first], others[: size - first]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing is garbage while tests are collected, and what was collected stays: looking through it again and again
    would be a fifth of that time, and a tenth of the tests'."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


@pytest.fixture(autouse=True)
def loop_guard() -> Iterator[BlockBuster]:
    """Fails any test whose service code blocks the event loop."""
    guard = _guard()
    guard.activate()
    yield guard
    guard.deactivate()


@cache
def _guard() -> BlockBuster:
    guard = BlockBuster("service")
    for function in guard.functions.values():
        # docket's connections read the version of redis-py from the disk, once each; coverage locks its own data.
        function.can_block_in("redis/utils.py", "get_lib_version")
        function.can_block_in("coverage/collector.py", "lock_data")
    return guard
