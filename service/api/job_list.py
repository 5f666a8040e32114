"""A caller's jobs: `GET /v1/jobs`."""

import re
from typing import Literal

from aiohttp import web
from pydantic import Field

from service.api.base_path import with_external_links
from service.api.caller import is_administrator
from service.api.documents import Document, Input, answer
from service.api.job_documents import JobDocument
from service.api.jobs import owner_of
from service.api.keys import JOBS
from service.api.query import read_as
from service.api.route import Answer, Route, Who
from service.jobs.engine import JobFilter
from service.jobs.job import Status
from service.order_ids import is_order_id
from service.problems import InvalidParameter, JobsUnavailable

_CURSOR = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)_([0-9a-f]{32})", re.ASCII)


class JobPage(Document):
    """Some jobs of a caller."""

    items: list[JobDocument] = Field(max_length=200)
    next_cursor: str | None = Field(description="Asks for the next page; null on the last.")


class JobQuery(Input):
    """Which jobs to list."""

    status: Literal["queued", "processing", "complete", "error", "cancelled"] | None = Field(
        None, description="Only jobs in this state."
    )
    order_id: str | None = Field(None, description="Only jobs of this order.")
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="At most so many.")


async def find(request: web.Request) -> web.Response:
    query = read_as(JobQuery, request.query)
    if query.order_id is not None and not is_order_id(query.order_id):
        raise InvalidParameter("order_id", "must be a UUID")
    wanted = JobFilter(
        owner=None if is_administrator(request) else owner_of(request),
        status=Status(query.status) if query.status else None,
        order_id=query.order_id and query.order_id.lower(),
        before=_read_cursor(query.cursor),
    )
    jobs = request.app[JOBS]
    found = await jobs.find(wanted, query.limit + 1)
    page = found[: query.limit]
    items = [with_external_links(request, document) for document in await jobs.documents(page)]
    next_cursor = f"{page[-1].request.created!r}_{page[-1].id}" if len(found) > query.limit else None
    return answer({"items": items, "next_cursor": next_cursor})


def _read_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidParameter("cursor", "must be the next_cursor of a page")
    return float(found[1]), found[2]


ROUTES = (
    Route(
        "GET",
        "/v1/jobs",
        find,
        name="jobs",
        summary="The caller's jobs, newest first",
        who=Who.NAMED,
        query=JobQuery,
        answers=(Answer(200, "A page of them. Administrators see all; without keys only they do.", JobPage),),
        problems=(InvalidParameter, JobsUnavailable),
    ),
)
