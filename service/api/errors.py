"""For administrators: recent errors, and a way to see one arrive."""

from aiohttp import web
from pydantic import Field

from service.api.documents import Document, answer
from service.api.keys import ISSUES
from service.api.route import Answer, Route, Who
from service.problems import ErrorsNotConfigured, ErrorsUnavailable


class TestError(RuntimeError):
    """Raised on purpose."""


class Issue(Document):
    """An error that nobody expected, as Sentry has it."""

    id: str | None
    title: str | None
    culprit: str | None
    level: str | None
    count: int | None
    first_seen: str | None
    last_seen: str | None
    link: str | None


class IssueList(Document):
    """The newest errors."""

    issues: list[Issue] = Field(max_length=25)


async def recent(request: web.Request) -> web.Response:
    issues = await request.app[ISSUES].recent()
    return answer({"issues": issues})


async def fail(request: web.Request) -> web.Response:
    """`GET /sentry-debug`: an error that nobody handles, to see it arrive."""
    raise TestError("An administrator asked for this error.")


ROUTES = (
    Route(
        "GET",
        "/v1/errors",
        recent,
        name="recentErrors",
        summary="Errors that nobody expected, as Sentry has them; at most a minute old",
        alias="/api/sentry/issues",
        who=Who.ADMINISTRATOR,
        answers=(Answer(200, "The newest first.", IssueList),),
        problems=(ErrorsUnavailable, ErrorsNotConfigured),
    ),
    Route(
        "GET",
        "/sentry-debug",
        fail,
        name="testError",
        summary="Fail on purpose, to see the error arrive at Sentry",
        who=Who.ADMINISTRATOR,
    ),
)
