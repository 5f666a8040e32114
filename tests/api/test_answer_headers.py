"""What every kind of answer says of who may keep it and what a browser may do with it."""

from collections.abc import AsyncIterator

import pytest

from service.api.documents import COMMON_HEADERS
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

ADMINISTRATOR = {"X-Admin-Token": "token-of-the-administrator"}
IMAGES = f"/v1/orders/{ORDER}/images"
# What a kind of answer has instead of, or besides, the common headers; None: whatever it is.
Headers = dict[str, str | None]
DOCUMENT: Headers = {"Cache-Control": "no-store"}
CHECKED: Headers = {"Cache-Control": "private, no-cache"}
BYTES: Headers = {"Cache-Control": "private, no-transform"}
LOOSE: Headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
FOR_GOOD: Headers = {"Vary": "Accept-Encoding", "Cache-Control": "public, max-age=31536000, immutable"}
OF_PAGES: Headers = {"Cross-Origin-Opener-Policy": "same-origin", "Content-Security-Policy": None}
PAGE: Headers = {**LOOSE, **OF_PAGES, "Referrer-Policy": "same-origin"}
SHARED: Headers = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}
SHARED_PAGE: Headers = {**DOCUMENT, **SHARED, **OF_PAGES}


@pytest.fixture
async def answers(upstream: FakeUpstream, start_service: StartService) -> dict[str, Answer]:
    """One of each kind, by its name."""
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    service = await start_service(admin_token=ADMINISTRATOR["X-Admin-Token"])
    return {name: answer async for name, answer in ask_all(service)}


async def ask_all(service: Service) -> AsyncIterator[tuple[str, Answer]]:
    page = await service.ask("/")
    yield "page", page
    asset = page.text.partition('"/web/')[2].partition('"')[0]
    yield "file of the page", await service.ask(f"/web/{asset}")
    yield "old file of the page", await service.ask(f"/web/0{asset}")
    yield "reference", await service.ask("/docs")
    yield "guide", await service.ask("/docs/guide/quick-start")
    yield "order", await service.ask(f"/v1/orders/{ORDER}")
    archive = await service.ask(IMAGES)
    yield "archive", archive
    yield "head of an archive", await service.head()
    yield "archive by its id", await service.ask(f"/v1/archives/{archive.headers['X-Archive-Id']}")
    yield "report", await service.ask(f"/v1/archives/{archive.headers['X-Archive-Id']}/report")
    yield "image", await service.ask(f"{IMAGES}/a")
    job = await send(service, "POST", f"/v1/orders/{ORDER}/jobs", {})
    yield "new job", job
    yield "job", await service.ask(f"/v1/jobs/{job.document['job_id']}")
    yield "jobs", await service.ask("/v1/jobs", headers=ADMINISTRATOR)
    yield "cancelled job", await send(service, "DELETE", f"/v1/jobs/{job.document['job_id']}")
    yield "session", await service.ask("/v1/session")
    yield "end of a session", await send(service, "DELETE", "/v1/session")
    yield "new session", await send(service, "POST", "/v1/session", {"token": ADMINISTRATOR["X-Admin-Token"]})
    yield "figures", await service.ask("/v1/stats")
    yield "health", await service.ask("/health")
    yield "problem", await service.ask("/nowhere")
    link = await send(service, "POST", "/v1/links", {"path": IMAGES, "expires_in": 60})
    yield "new link", link
    shared = str(link.document["page"])
    yield "shared page", await service.ask(shared)
    yield "shared image", await service.ask(f"{shared}/images/a")
    yield "shared archive", await service.ask(f"{shared}/download")
    yield "links", await service.ask("/v1/links", headers=ADMINISTRATOR)
    yield "revoked link", await send(service, "DELETE", f"/v1/links/{link.document['link_id']}")
    yield "page of a link that is gone", await service.ask(shared)
    yield "image of a link that is gone", await service.ask(f"{shared}/images/a")


EXPECTED: dict[str, Headers] = {
    **dict.fromkeys(("page", "reference", "guide"), PAGE),
    "file of the page": FOR_GOOD,
    "old file of the page": LOOSE,
    **dict.fromkeys(("order", "report"), CHECKED),
    **dict.fromkeys(("archive", "head of an archive", "archive by its id", "image"), BYTES),
    **dict.fromkeys(("new job", "job", "jobs", "cancelled job"), DOCUMENT),
    **dict.fromkeys(("session", "new session", "end of a session"), DOCUMENT),
    **dict.fromkeys(("new link", "links", "revoked link"), DOCUMENT),
    **dict.fromkeys(("figures", "health", "problem"), DOCUMENT),
    **dict.fromkeys(("shared page", "page of a link that is gone"), SHARED_PAGE),
    **dict.fromkeys(("shared image", "shared archive"), BYTES | SHARED),
    "image of a link that is gone": DOCUMENT | SHARED,
}
PAGES = [name for name, headers in EXPECTED.items() if "Content-Security-Policy" in headers]
NAMES = {*COMMON_HEADERS, "Cache-Control", "Cross-Origin-Opener-Policy", "Vary", "X-Robots-Tag"}


async def test_every_kind_of_answer_has_its_headers(answers: dict[str, Answer]) -> None:
    """And no others of these: no answer is kept where it must not be, framed, or taken for another kind."""
    assert answers.keys() == EXPECTED.keys()
    for name, answer in answers.items():
        expected: Headers = {**dict.fromkeys(NAMES, ""), **COMMON_HEADERS, **EXPECTED[name]}
        judged = {header: value for header, value in expected.items() if value is not None}
        assert {header: answer.headers.get(header, "") for header in judged} == judged, name
        assert answer.headers["X-Request-Id"], name


async def test_no_page_may_be_framed_or_take_anything_from_elsewhere(answers: dict[str, Answer]) -> None:
    """Each says so by a policy of its own."""
    for name in PAGES:
        policy = dict(
            rule.strip().split(" ", 1) for rule in answers[name].headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'", name
        assert policy["form-action"] in ("'self'", "'none'"), name
        for kind in ("script-src", "style-src", "img-src", "connect-src"):
            sources = policy.get(kind, "'none'").split()
            assert all(source in ("'self'", "'none'", "data:") or source.startswith("'sha256-") for source in sources)
            assert "data:" not in sources or (kind, name) == ("img-src", "reference")
