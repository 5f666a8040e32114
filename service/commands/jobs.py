"""`jobs`: start, list, follow and cancel background jobs."""

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterable, AsyncIterator

from aiohttp import ClientError, ClientSession

from service.commands.answers import Commands, add_asking, answered, ask, print_table, service_of
from service.commands.client import (
    Document,
    Interrupted,
    Service,
    Usage,
    given,
    in_flags,
    is_unreachable,
    read_order,
    refuse,
    why,
)
from service.commands.talk import ALL, PARTIAL, REFUSED

JOB_STATUSES = ("queued", "processing", "complete", "error", "cancelled")

_ATTEMPTS = 5
_FINAL = frozenset({"complete", "error", "cancelled"})


def add_jobs(commands: Commands) -> None:
    jobs = commands.add_parser("jobs", help="start, list, follow and cancel background jobs")
    actions = jobs.add_subparsers(required=True, metavar="ACTION")
    start = actions.add_parser("start", help="build an order's ZIP in the background, and print the job's id")
    start.add_argument(
        "orders",
        metavar="ORDER",
        nargs="+",
        help="its id, or the address of its page; several: one ZIP, a folder each",
    )
    start.add_argument("--full-size", action="store_true", help="full size instead of previews: SPENDS CREDITS")
    start.add_argument(
        "--max-credits", type=int, metavar="N", help="refuse to buy more images than this, a credit each"
    )
    start.add_argument("--wait", type=float, metavar="SECONDS", help="wait for images that are still being enhanced")
    start.set_defaults(run=_start)
    found = actions.add_parser("list", help="list your jobs, newest first")
    found.add_argument("--status", choices=JOB_STATUSES, help="only jobs in this state")
    found.add_argument("--order", metavar="ORDER", help="only jobs of this order")
    found.add_argument("--limit", type=int, metavar="1-200", help="at most so many (50)")
    found.set_defaults(run=_find)
    follow = actions.add_parser(
        "follow",
        help="print a job's changes until it ends",
        description="Print a job's changes until it ends."
        " The exit code is 3 when images are missing, 4 when it failed or was cancelled.",
    )
    cancel = actions.add_parser("cancel", help="cancel a job")
    for action, run in ((follow, _follow), (cancel, _cancel)):
        action.add_argument("job_id", metavar="JOB_ID")
        action.set_defaults(run=run)
    for action in (start, found, follow, cancel):
        add_asking(action, administrators=True)


def _start(options: argparse.Namespace) -> int:
    orders = [read_order(order, options.url) for order in options.orders]
    (url, *others) = dict.fromkeys(url for _, url in orders)
    if others:
        raise Usage("The orders are at different services.")
    first, *more = dict.fromkeys(order_id for order_id, _ in orders)
    wanted = given(
        order_ids=[first, *more] if more else None,
        preview=False if options.full_size else None,
        max_credits=options.max_credits,
        wait=True if options.wait is not None else None,
        wait_timeout=options.wait,
    )
    path = "v1/jobs" if more else f"v1/orders/{first}/jobs"
    return ask(options, service_of(options, url), "POST", path, lambda job: print(job["job_id"]), json=wanted)


def _find(options: argparse.Namespace) -> int:
    order_id, url = (None, options.url) if options.order is None else read_order(options.order, options.url)
    query = given(status=options.status, limit=options.limit, order_id=order_id)
    return ask(options, service_of(options, url), "GET", "v1/jobs", _print_jobs, params=query)


def _print_jobs(found: Document) -> None:
    print_table(
        ("JOB", "ORDER", "STATUS", "IMAGES", "FAILED", "CREATED"),
        (
            (
                job["job_id"],
                ", ".join(job["order_ids"]),
                job["status"],
                f"{job['downloaded']}/{job['total']}",
                job["failed"],
                job["created_at"],
            )
            for job in found["items"]
        ),
    )


def _cancel(options: argparse.Namespace) -> int:
    def show(job: Document) -> None:
        print(f"{job['job_id']}: {job['status']}")

    return ask(options, service_of(options), "DELETE", f"v1/jobs/{options.job_id}", show)


def _follow(options: argparse.Namespace) -> int:
    service = service_of(options)

    async def work(session: ClientSession) -> int:
        job: Document = {}
        async for job in changes(service, session, options.job_id):
            print(json.dumps(job) if options.as_json else _line(job), flush=True)
        if job["status"] != "complete":
            return REFUSED
        return PARTIAL if job["failed"] or any(order["code"] for order in job["orders"]) else ALL

    return answered(service, work)


def _line(job: Document) -> str:
    counts = f"{job['downloaded']} of {job['total']} images" + (f", {job['failed']} failed" if job["failed"] else "")
    counts += "".join(f". {order['order_id']}: {in_flags(order['reason'])}" for order in job["orders"] if order["code"])
    error = job.get("error")
    return f"{job['status']}: {counts}" + (f". {error['title']}. {in_flags(error['detail'])}" if error else "")


async def changes(service: Service, session: ClientSession, job_id: str) -> AsyncIterator[Document]:
    """The job after every change, to its end, over as many connections as it takes."""
    last, failures = "", 0
    while True:
        try:
            headers = {"Last-Event-ID": last} if last else {}
            async with session.get(service / f"v1/jobs/{job_id}/events", headers=headers) as response:
                if not response.ok:
                    await refuse(response)
                async for number, job in _events(response.content.iter_any()):
                    last, failures = number, 0
                    yield job
                    if job["status"] in _FINAL:
                        return
            error: Exception = Interrupted("The stream ended before the job did.")
        except (Interrupted, ClientError, TimeoutError) as broken:
            error = broken
        failures += 1
        if failures >= _ATTEMPTS or (not last and is_unreachable(error)):
            raise Interrupted(why(error, service.url)) from error
        await asyncio.sleep(error.wait if isinstance(error, Interrupted) else failures)


async def _events(pieces: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, Document]]:
    """The id and the document of each server-sent event."""
    number, data = "", ""
    async for raw in _lines(pieces):
        line = raw.decode().rstrip("\r\n")
        if found := re.fullmatch(r"id: ?(.*)", line):
            number = found[1]
        elif found := re.fullmatch(r"data: ?(.*)", line):
            data += found[1]
        elif not line and data:
            yield number, json.loads(data)
            data = ""


async def _lines(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Lines of any length, which those of the library do not have."""
    begun: list[bytes] = []
    async for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield b"".join((*begun, end))
            begun.clear()
        begun.append(rest)
    if last := b"".join(begun):
        yield last
