"""Issues read back from Sentry: asked once for many, and never more of them than a person reads."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from service.problems import ErrorsNotConfigured, ErrorsUnavailable
from service.settings import Settings
from service.telemetry import issues as issues_module
from service.telemetry.issues import Issues, api_address, open_issues
from tests.support.loopback import serving
from tests.support.transport import FakeClock


class Sentry:
    """Answers with `body` and `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = []
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        """That."""
        self.asked.append(request.rel_url.raw_path_qs)
        await asyncio.sleep(0)
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return web.Response(status=self.status, text=text, content_type="application/json")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What the module takes for the time."""
    clock = FakeClock()
    monkeypatch.setattr(issues_module, "time", clock)
    return clock


@pytest.fixture
def sentry() -> Sentry:
    """Without issues."""
    return Sentry()


@pytest.fixture
async def issues(sentry: Sentry, clock: FakeClock) -> AsyncIterator[Issues]:
    """Of a project whose name needs an escape."""
    given: dict[str, Any] = {"sentry_auth_token": SecretStr("token"), "sentry_org": "org", "sentry_project": "batch/1"}
    async with serving(web.get("/{tail:.*}", sentry.answer)) as url:
        dsn = SecretStr(url.replace("//", "//key@") + "/3")
        async with open_issues(Settings(_env_file=None, sentry_dsn=dsn, **given), []) as issues:
            yield issues


async def test_the_project_s_unresolved_issues_are_asked_for(issues: Issues, sentry: Sentry) -> None:
    """By its name, whatever that is made of."""
    await issues.recent()

    assert sentry.asked == ["/api/0/projects/org/batch%2F1/issues/?query=is:unresolved&limit=25"]


async def test_an_answer_is_kept_for_a_minute(issues: Issues, sentry: Sentry, clock: FakeClock) -> None:
    """Whoever asks, and however many at once."""
    sentry.body = [{"id": "1"}]
    together = await asyncio.gather(*(issues.recent() for _ in range(3)))
    clock.advance(59)
    sentry.body = []
    kept = await issues.recent()
    clock.advance(1)
    new = await issues.recent()

    assert [[issue["id"] for issue in found] for found in (*together, kept, new)] == [["1"]] * 4 + [[]]
    assert len(sentry.asked) == 2


@pytest.mark.parametrize(("status", "body"), [(500, []), (404, []), (200, "no json"), (200, {}), (200, "[" * 100_000)])
async def test_a_failure_is_kept_for_a_quarter_of_one(
    issues: Issues, sentry: Sentry, clock: FakeClock, status: int, body: Any
) -> None:
    """Then it is tried again."""
    sentry.status, sentry.body = status, body
    for _ in range(2):
        with pytest.raises(ErrorsUnavailable):
            await issues.recent()
        clock.advance(14)
    asked = len(sentry.asked)
    clock.advance(1)
    sentry.status, sentry.body = 200, []

    assert (await issues.recent(), asked, len(sentry.asked)) == ([], 1, 2)


async def test_a_sentry_that_does_not_answer_is_unavailable(issues: Issues, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that cannot be reached."""

    def slow(*_: object, **__: object) -> object:
        raise TimeoutError

    monkeypatch.setattr(issues._session, "get", slow)

    with pytest.raises(ErrorsUnavailable):
        await issues.recent()


@pytest.mark.parametrize(("size", "is_too_long"), [((1 << 20) - 4, False), ((1 << 20) - 3, True)])
async def test_an_answer_has_at_most_a_mebibyte(issues: Issues, sentry: Sentry, size: int, is_too_long: bool) -> None:
    """More is not read."""
    sentry.body = json.dumps(["x" * size])

    if is_too_long:
        with pytest.raises(ErrorsUnavailable):
            await issues.recent()
    else:
        assert await issues.recent() == []


async def test_what_is_of_another_kind_is_null(issues: Issues, sentry: Sentry) -> None:
    """Long texts are cut, and there are at most 25 issues."""
    odd = {"id": True, "title": "x" * 400, "count": "²", "permalink": "http://plain.example", "level": 3}
    sentry.body = [odd, {"count": "9" * 20}, 3, *[{"count": 7}] * 30]

    found = await issues.recent()

    assert found[0] == {
        "id": None,
        "title": "x" * 300,
        "culprit": None,
        "level": "3",
        "count": None,
        "first_seen": None,
        "last_seen": None,
        "link": None,
    }
    assert [issue["count"] for issue in found[1:]] == [int("9" * 15)] + [7] * 22


@pytest.mark.parametrize("missing", ["sentry_auth_token", "sentry_org", "sentry_project"])
async def test_without_one_of_three_settings_there_is_no_project(missing: str) -> None:
    """It is said, and nobody is asked."""
    given: dict[str, Any] = {"sentry_auth_token": SecretStr("t"), "sentry_org": "o", "sentry_project": "p"}
    settings = Settings(_env_file=None, **(given | {missing: None}))

    async with open_issues(settings, []) as issues:
        with pytest.raises(ErrorsNotConfigured):
            await issues.recent()


async def test_sentry_has_five_seconds() -> None:
    """A page that shows issues does not hang on it."""
    given: dict[str, Any] = {"sentry_auth_token": SecretStr("t"), "sentry_org": "o", "sentry_project": "p"}

    async with open_issues(Settings(_env_file=None, **given), []) as issues:
        assert issues._session.timeout.total == 5
        assert issues._session.headers["Authorization"] == "Bearer t"
        assert str(issues._url).startswith("https://sentry.io/api/0/projects/o/p/issues/?")


@pytest.mark.parametrize(
    ("dsn", "api"),
    [
        (None, "https://sentry.io"),
        ("https://key@o12.ingest.sentry.io/3", "https://sentry.io"),
        ("https://key@o12.ingest.us.sentry.io/3", "https://us.sentry.io"),
        ("https://key@o12.ingest.de.sentry.io/3", "https://de.sentry.io"),
        ("https://key@errors.example.com/3", "https://errors.example.com"),
        ("http://key@127.0.0.1:9000/3", "http://127.0.0.1:9000"),
        ("http://key@[::1]:9000/3", "http://[::1]:9000"),
        ("https://key@notsentry.io/3", "https://notsentry.io"),
    ],
)
def test_the_api_is_where_the_dsn_points(dsn: str | None, api: str) -> None:
    """Sentry's own, a region's, or a host of one's own."""
    assert api_address(dsn) == api
