"""What commands that ask a running service have in common: flags, JSON for programs, tables for people, exit codes."""

import argparse
import asyncio
import io
import json
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeAlias

from aiohttp import ClientError, ClientSession
from rich.console import Console
from rich.table import Table

from service.commands.client import Busy, Document, Interrupted, Refused, Service, read_order, why
from service.commands.talk import ALL, BROKEN, REFUSED, Talk
from service.text import one_line

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_ATTEMPTS = 3
_WIDEST = 10_000


def add_service(command: argparse.ArgumentParser, *, administrators: bool = False) -> None:
    """The flags that say where the service is, and who calls."""
    command.add_argument("--url", help="URL of the service (AUTOENHANCE_BATCH_URL, http://127.0.0.1:8000)")
    command.add_argument("--api-key", help="API key of the service (AUTOENHANCE_BATCH_KEY, SERVICE_API_KEY)")
    if administrators:
        command.add_argument(
            "--admin-token", help="token of its administrators (AUTOENHANCE_BATCH_ADMIN_TOKEN, ADMIN_TOKEN)"
        )


def add_asking(command: argparse.ArgumentParser, *, administrators: bool = False) -> None:
    """The same, and `--json`."""
    add_service(command, administrators=administrators)
    command.add_argument("--json", action="store_true", dest="as_json", help="print JSON, for programs")


def service_of(options: argparse.Namespace, url: str | None = None) -> Service:
    """The service that the flags name, or the one at `url`. Raises `Usage`."""
    return Service.of(url or options.url, options.api_key, getattr(options, "admin_token", None))


def order_of(options: argparse.Namespace) -> tuple[Service, str]:
    """The service, and the id of the order. Raises `Usage`."""
    order_id, url = read_order(options.order, options.url)
    return service_of(options, url), order_id


def answered(
    service: Service, work: Callable[[ClientSession], Coroutine[Any, Any, int]], more_seconds: float = 0.0
) -> int:
    """The exit code of `work`, which has a session; problems are said, and have exit codes of their own.

    `more_seconds`: as of `Service.session`.
    """

    async def run() -> int:
        async with service.session(more_seconds) as session:
            return await work(session)

    try:
        return asyncio.run(run())
    except Refused as refusal:
        Talk().fail(str(refusal))
        return REFUSED
    except (Interrupted, ClientError, TimeoutError) as error:
        Talk().fail(why(error, service.url))
        return BROKEN


def ask(
    options: argparse.Namespace,
    service: Service,
    method: str,
    path: str,
    show: Callable[[Document], None],
    exit_code: Callable[[Document], int] = lambda _: ALL,
    **more: Any,
) -> int:
    """Ask the service one thing, and print what it answers: as `show` does it, or as JSON. Returns the exit code."""

    async def work(session: ClientSession) -> int:
        talk = Talk(as_json=options.as_json)
        document = await ask_with_retries(service, session, method, path, talk=talk, **more)
        print_json(document) if options.as_json else show(document)
        return exit_code(document)

    return answered(service, work)


async def ask_with_retries(
    service: Service, session: ClientSession, method: str, path: str, *, talk: Talk, **more: Any
) -> Document:
    """As `Service.ask`, and again after the time that the service asks its caller to wait, which `talk` says."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await service.ask(session, method, path, **more)
        except Busy as busy:
            talk.say(str(busy))
            await asyncio.sleep(busy.wait)
    return await service.ask(session, method, path, **more)


def print_json(document: Document) -> None:
    """For programs: as the service gave it, indented, in ASCII."""
    print(json.dumps(document, indent=2))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """For people. Columns have the width of their content, also where a terminal has less: ids are to be copied."""
    # Not to standard output itself: a reader that has seen enough would end the program there.
    written = io.StringIO()
    console = Console(file=written, force_terminal=sys.stdout.isatty(), width=_WIDEST)
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else one_line(str(cell)) for cell in row))
    console.print(table, markup=False)
    print("\n".join(line.rstrip() for line in written.getvalue().splitlines()))
