"""`download --together`: several orders in one ZIP, which the service builds as a job."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

from aiohttp import ClientError, ClientSession

from service.commands.answers import ask_with_retries
from service.commands.client import Document, Interrupted, Refused, Service, in_flags, why
from service.commands.jobs import changes
from service.commands.talk import Talk

_CANCEL_SECONDS = 2.0


async def build(service: Service, order_ids: Sequence[str], options: Document, talk: Talk) -> Document:
    """Have the service build one ZIP of these orders; returns the job at its end. Ctrl-C cancels it.

    Raises `Refused` when it fails, and `Interrupted`.
    """
    body = {"order_ids": list(order_ids), **options}
    try:
        async with service.session() as session:
            headers = {"Idempotency-Key": uuid4().hex}
            posting = ask_with_retries(service, session, "POST", "v1/jobs", talk=talk, json=body, headers=headers)
            accepting = asyncio.create_task(posting)
            try:
                return await _follow(service, session, (await asyncio.shield(accepting))["job_id"], talk)
            except asyncio.CancelledError:
                with suppress(Refused, Interrupted, ClientError, TimeoutError):
                    async with asyncio.timeout(_CANCEL_SECONDS):
                        await service.ask(session, "DELETE", f"v1/jobs/{(await accepting)['job_id']}")
                raise
    except (ClientError, TimeoutError) as error:
        raise Interrupted(why(error, service.url)) from error


async def _follow(service: Service, session: ClientSession, job_id: str, talk: Talk) -> Document:
    """Say how far the job is; returns it at its end. Raises `Refused` when it ends without a ZIP."""
    job: Document = {}
    with talk.console.status("The service builds the ZIP") as status:
        if not talk.progress:
            status.stop()
        async for job in changes(service, session, job_id):
            status.update(f"The service builds the ZIP: {job['downloaded']} of {job['total']} images")
    if job["status"] != "complete":
        error = job["error"] or {"title": "The job was cancelled", "detail": "", "code": "job_cancelled"}
        raise Refused(f"{error['title']}. {in_flags(error['detail'])} ({error['code']})", error["code"])
    return job
