"""`jobs`: start, list, follow and cancel background jobs."""

import asyncio
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

from aiohttp import ClientError, ClientSession

from service.commands.answers import answered, ask_with_retries, print_json, print_table
from service.commands.client import Document, Interrupted, Service, in_flags, is_unreachable, refuse, why
from service.commands.talk import ALL, PARTIAL, REFUSED

_ATTEMPTS = 5
_LISTS = frozenset({"include", "rendition"})
# Of those that are no text in a JSON body.
_KINDS = dict.fromkeys(("quality", "max_width", "max_credits"), int) | dict.fromkeys(("scale", "wait_timeout"), float)
_TRUTHS = frozenset({"preview", "dev_mode", "wait"})
_FINAL = frozenset({"complete", "error", "cancelled"})


def start(service: Service, order_ids: Sequence[str], query: tuple[tuple[str, str], ...], *, as_json: bool) -> int:
    """Start a job, of one order or of several together, and print its id."""

    async def work(session: ClientSession) -> int:
        if len(order_ids) > 1:
            job = await ask_with_retries(service, session, "POST", "v1/jobs", json=body_of(order_ids, query))
        else:
            job = await ask_with_retries(service, session, "POST", f"v1/orders/{order_ids[0]}/jobs", params=query)
        print_json(job) if as_json else print(job["job_id"])
        return ALL

    return answered(service, work)


def body_of(order_ids: Sequence[str], query: Iterable[tuple[str, str]]) -> Document:
    """The body of a request for a job of several orders."""
    body: Document = {"order_ids": list(order_ids)}
    for name, value in query:
        if name in _LISTS:
            body[name] = [*body.get(name, ()), value]
        else:
            body[name] = value == "true" if name in _TRUTHS else _KINDS.get(name, str)(value)
    return body


def find(service: Service, query: tuple[tuple[str, str], ...], *, as_json: bool) -> int:
    """Print the caller's jobs, newest first."""

    async def work(session: ClientSession) -> int:
        found = await ask_with_retries(service, session, "GET", "v1/jobs", params=query)
        if as_json:
            print_json(found)
        else:
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
        return ALL

    return answered(service, work)


def cancel(service: Service, job_id: str, *, as_json: bool) -> int:
    """Cancel a job that has not ended, and print how it stands."""

    async def work(session: ClientSession) -> int:
        job = await ask_with_retries(service, session, "DELETE", f"v1/jobs/{job_id}")
        print_json(job) if as_json else print(f"{job['job_id']}: {job['status']}")
        return ALL

    return answered(service, work)


def follow(service: Service, job_id: str, *, as_json: bool) -> int:
    """Print a job's changes until it ends; exit code 3 when images are missing, 4 when it failed or was cancelled."""

    async def work(session: ClientSession) -> int:
        job: Document = {}
        async for job in changes(service, session, job_id):
            print(json.dumps(job, ensure_ascii=False) if as_json else _line(job), flush=True)
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
                async for number, job in _events(response.content):
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


async def _events(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, Document]]:
    """The id and the document of each server-sent event."""
    number, data = "", ""
    async for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if found := re.fullmatch(r"id: ?(.*)", line):
            number = found[1]
        elif found := re.fullmatch(r"data: ?(.*)", line):
            data += found[1]
        elif not line and data:
            yield number, json.loads(data)
            data = ""
