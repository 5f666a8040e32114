"""What commands that ask one thing have in common: JSON for programs, tables for people, and exit codes."""

import asyncio
import io
import json
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from aiohttp import ClientError, ClientSession
from rich.console import Console
from rich.table import Table

from service.commands.client import Busy, Document, Interrupted, Refused, Service, why
from service.commands.talk import BROKEN, REFUSED

_ATTEMPTS = 3
_WIDEST = 10_000


def answered(service: Service, work: Callable[[ClientSession], Coroutine[Any, Any, int]]) -> int:
    """The exit code of `work`, which has a session; problems are said, and have exit codes of their own."""
    errors = Console(stderr=True)

    async def run() -> int:
        async with service.session() as session:
            return await work(session)

    try:
        return asyncio.run(run())
    except Refused as refusal:
        errors.print(str(refusal), style="red", markup=False, soft_wrap=True)
        return REFUSED
    except (Interrupted, ClientError, TimeoutError) as error:
        errors.print(why(error, service.url), style="red", markup=False, soft_wrap=True)
        return BROKEN


async def ask_with_retries(service: Service, session: ClientSession, method: str, path: str, **more: Any) -> Document:
    """As `Service.ask`, and again after the time that the service asks its caller to wait."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await service.ask(session, method, path, **more)
        except Busy as busy:
            Console(stderr=True).print(str(busy), markup=False, highlight=False, soft_wrap=True)
            await asyncio.sleep(busy.wait)
    return await service.ask(session, method, path, **more)


def print_json(document: Document) -> None:
    """For programs: as the service gave it, indented."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """For people. Where nobody looks (a pipe), columns have the width of their content."""
    is_terminal = sys.stdout.isatty()
    # Not to standard output itself: a reader that has seen enough would end the program there.
    written = io.StringIO()
    console = Console(
        file=written, force_terminal=is_terminal, width=shutil.get_terminal_size().columns if is_terminal else _WIDEST
    )
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table, markup=False)
    print("\n".join(line.rstrip() for line in written.getvalue().splitlines()))
