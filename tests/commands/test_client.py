"""Where the commands find the service, and how an order may be named."""

import re

import pytest
from aiohttp import web
from yarl import URL

from service.archives.archive import ImageResult
from service.archives.names import content_disposition
from service.archives.options import Options
from service.archives.plan import PlannedOrder
from service.archives.renditions import ORIGINAL
from service.archives.report import report_text
from service.commands.client import (
    DEFAULT_URL,
    Interrupted,
    Refused,
    Service,
    Usage,
    in_flags,
    read_order,
    suggested_name,
)
from service.commands.jobs import JOB_STATUSES
from service.problems import TooManyImages
from service.reasons import Reason
from service.telemetry.metrics import JobStatus
from tests.support.loopback import serving
from tests.support.samples import ORDER


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the developer's."""
    for name in ("URL", "KEY", "ADMIN_TOKEN"):
        monkeypatch.delenv(f"AUTOENHANCE_BATCH_{name}", raising=False)
    for name in ("SERVICE_API_KEY", "ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (ORDER, None),
        (ORDER.upper(), None),
        (f"https://batch.example.com/?order={ORDER}", "https://batch.example.com"),
        (f"https://example.com:8443/batch/?order={ORDER}&preview=false#x", "https://example.com:8443/batch"),
        (f"http://127.0.0.1:8000/v1/orders/{ORDER}/images?quality=80", "http://127.0.0.1:8000"),
        (f"https://example.com/batch/v1/orders/{ORDER}", "https://example.com/batch"),
        (f"https://app.autoenhance.ai/orders/{ORDER}", None),
        (f"https://autoenhance.ai/orders/{ORDER}/?tab=images", None),
        (f"https://notautoenhance.ai/?order={ORDER}", "https://notautoenhance.ai"),
        (f"https://example.com/orders/{ORDER}/images", "https://example.com"),
    ],
)
def test_an_order_is_named_by_its_id_or_by_an_address_with_it(text: str, url: str | None) -> None:
    """As it is pasted from the browser; the address says where the service is, too, unless it is one of Autoenhance."""
    assert read_order(text, None) == (ORDER, url)
    assert read_order(text, "http://other.example") == (ORDER, "http://other.example")


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        (f"https://elsewhere.example/?order={ORDER}", "https://elsewhere.example"),
        (f"http://batch.example.com/?order={ORDER}", "http://batch.example.com"),
        (f"https://batch.example.com:8443/batch/v1/orders/{ORDER}", "https://batch.example.com:8443"),
        (f"https://batch.example.com@elsewhere.example/?order={ORDER}", "https://elsewhere.example"),
    ],
)
def test_a_pasted_address_elsewhere_gets_no_key_of_the_service_that_is_set(
    monkeypatch: pytest.MonkeyPatch, address: str, origin: str
) -> None:
    """Which of the two is meant, only the caller knows."""
    monkeypatch.setenv("AUTOENHANCE_BATCH_URL", "https://batch.example.com")
    told = f"ORDER is at {origin}, but AUTOENHANCE_BATCH_URL is https://batch.example.com: give --url to choose."

    with pytest.raises(Usage, match=f"^{re.escape(told)}$"):
        read_order(address, None)
    assert read_order(address, "https://elsewhere.example") == (ORDER, "https://elsewhere.example")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (ORDER, None),
        (f"https://app.autoenhance.ai/orders/{ORDER}", None),
        (f"http://batch.example.com/?order={ORDER}", "http://batch.example.com"),
        (f"http://BATCH.example.com:80/batch/?order={ORDER}", "http://BATCH.example.com:80/batch"),
        (f"https://batch.example.com/?order={ORDER}", "https://batch.example.com"),
    ],
)
def test_a_pasted_address_at_the_service_that_is_set_is_taken(
    monkeypatch: pytest.MonkeyPatch, address: str, url: str | None
) -> None:
    """Over https too, as many proxies lead there; with its path."""
    monkeypatch.setenv("AUTOENHANCE_BATCH_URL", "http://batch.example.com")

    assert read_order(address, None) == (ORDER, url)


def test_a_wrong_url_that_is_set_is_told_of_a_pasted_address_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be said to be there."""
    monkeypatch.setenv("AUTOENHANCE_BATCH_URL", "nowhere")

    with pytest.raises(Usage, match=r"^AUTOENHANCE_BATCH_URL: nowhere is not a URL such as"):
        read_order(f"https://batch.example.com/?order={ORDER}", None)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "../../etc", "https://batch.example.com/", f"ftp://x/{ORDER}", "http://["]
)
def test_what_names_no_order_is_a_wrong_command(text: str) -> None:
    """It is repeated, so that a slip of the pen is seen."""
    with pytest.raises(Usage, match="is neither an order id"):
        read_order(text, None)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (content_disposition("東京.zip"), "東京.zip"),
        (content_disposition("Straße 50%.zip"), "Straße 50%.zip"),
        ('attachment; filename="house.zip"', "house.zip"),
        ("attachment; filename*=UTF-8''..%2F.%2Fetc%0A.zip", "_._etc_.zip"),
        ("attachment", None),
    ],
)
def test_a_file_has_the_name_that_a_browser_gives_it(disposition: str, name: str | None) -> None:
    """In any script, so that orders whose names have no ASCII letter do not replace each other; in no other folder."""
    assert suggested_name({"Content-Disposition": disposition}) == name


def test_the_environment_says_where_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag wins over it; ours win over those that the service reads."""
    assert Service.of(None, None) == Service(DEFAULT_URL)
    monkeypatch.setenv("SERVICE_API_KEY", "studio:first, second")
    monkeypatch.setenv("ADMIN_TOKEN", "token")
    assert Service.of(None, None) == Service(DEFAULT_URL, "first", "token")
    monkeypatch.setenv("AUTOENHANCE_BATCH_URL", "https://batch.example.com")
    monkeypatch.setenv("AUTOENHANCE_BATCH_KEY", "mine")
    monkeypatch.setenv("AUTOENHANCE_BATCH_ADMIN_TOKEN", "theirs")
    assert Service.of(None, None) == Service("https://batch.example.com", "mine", "theirs")
    assert Service.of("http://flag.example", "k", "t") == Service("http://flag.example", "k", "t")


@pytest.mark.parametrize("url", ["nowhere", "ftp://x", "http://example..com", f"http://{'x' * 64}.example"])
def test_what_no_host_can_be_called_is_a_wrong_url(url: str) -> None:
    """It is repeated; the look-up of such a name would raise."""
    with pytest.raises(Usage, match=f"^--url: {re.escape(url)} is not a URL such as"):
        Service.of(url, None)


def test_a_key_has_what_a_header_can_carry() -> None:
    """The end of a line that it was read with is no part of it; one within it is told, and the key is not."""
    assert Service.of(None, "key\r", " token\n") == Service(DEFAULT_URL, "key", "token")
    for keys, flag in ((("a\r\nb", None), "--api-key"), ((None, "a\0b"), "--admin-token")):
        with pytest.raises(Usage, match=f"^{flag}: it has a line break or another character that no key has.$"):
            Service.of(None, *keys)


def test_the_states_of_a_job_are_those_of_the_service() -> None:
    """`jobs list --status`."""
    assert set(JOB_STATUSES) == {str(status) for status in JobStatus}


async def asked(answer: web.Response) -> None:
    """Ask a service that answers so."""

    async def handle(request: web.Request) -> web.Response:
        return answer

    async with serving(web.get("/{path:.*}", handle)) as url:
        service = Service(url)
        async with service.session() as session:
            await service.ask(session, "GET", "v1/stats")


@pytest.mark.parametrize("body", ["", "[]", '"No."', "null", "<html>"])
async def test_a_refusal_that_is_no_problem_document_is_told_by_its_status(body: str) -> None:
    """Some proxies send no body at all."""
    with pytest.raises(Refused, match="The service answered with status 404"):
        await asked(web.Response(status=404, text=body))


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_that_does_not_reach_the_service_is_an_interruption(status: int) -> None:
    """The service is being restarted behind it. What the service itself says in a document is a refusal."""
    with pytest.raises(Interrupted, match=f"A proxy answered with status {status}"):
        await asked(web.Response(status=status, text="<html>"))
    with pytest.raises(Refused, match="It failed"):
        await asked(web.json_response({"title": "It failed", "code": "upstream_error"}, status=status))


@pytest.mark.parametrize(
    ("said", "in_ours"),
    [
        ("wait_timeout: must be a number from 0 to 3600.", "--wait: must be a number from 0 to 3600."),
        ("max_width: must be at least 1.", "--max-width: must be at least 1."),
        ("max_credits: must be at least 0.", "--max-credits: must be at least 0."),
        (TooManyImages.advice.partition(".")[0], "Download it in parts: --part 1, --part 2 and so on"),
        ("Raise max_credits to the number in `to_buy`, or", "Raise --max-credits, or"),
        ("rendition: must be name,key=value with max_width.", "rendition: must be name,key=value with max_width."),
    ],
)
def test_a_parameter_is_named_by_its_flag(said: str, in_ours: str) -> None:
    """Where the two differ by more than the dashes before them. Members of a document are not named at all."""
    assert in_flags(said) == in_ours


def test_what_a_report_says_of_a_missing_file_is_a_command() -> None:
    """The one that was run, for that image: a shell would take a URL's `&` for its own."""
    missing = [ImageResult("a", "a.jpg", code=Reason.TIMEOUT, rendition=which) for which in (None, ORIGINAL)]
    options = Options(preview=False, quality=80, include=("original",))

    said = in_flags(report_text(PlannedOrder(order_id=ORDER), options, missing))

    wanted = "run the command with --image a"
    assert re.findall("get it: +(.*)\r", said) == [wanted, f"{wanted} --include original"]


async def test_a_redirect_takes_no_secret_to_another_host() -> None:
    """Neither the caller's key nor the administrators' token; at the service itself they go along."""
    sent: list[tuple[str | None, str | None]] = []

    async def end(request: web.Request) -> web.Response:
        sent.append((request.headers.get("X-API-Key"), request.headers.get("X-Admin-Token")))
        return web.json_response({})

    async with serving(web.get("/end", end)) as other:

        async def elsewhere(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"{other}/end"})

        async def here(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "/end"})

        routes = (web.get("/elsewhere", elsewhere), web.get("/here", here), web.get("/end", end))
        async with serving(*routes) as url:
            service = Service(url, "key", "token")
            async with service.session() as session:
                for path in ("elsewhere", "here"):
                    await service.ask(session, "GET", path)

    assert sent == [(None, None), ("key", "token")]


async def test_a_redirect_to_another_host_that_wants_the_key_is_told() -> None:
    """A key was given: it is the address that was not the service's own."""

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"code": "unauthorized"}, status=401)

    async with serving(web.get("/v1/stats", refuse)) as other:

        async def elsewhere(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": other + request.path})

        async with serving(web.get("/v1/stats", elsewhere)) as url:
            service = Service(url, "key")
            async with service.session() as session:
                with pytest.raises(Refused, match=f"^{url} redirects to {other}, which gets no key"):
                    await service.ask(session, "GET", "v1/stats")


@pytest.mark.parametrize(
    ("service", "address", "is_there"),
    [
        ("http://batch.example", "http://batch.example/v1/stats", True),
        ("http://batch.example:80", "http://batch.example/v1/stats", True),
        ("http://batch.example", "https://batch.example/v1/stats", True),
        ("http://batch.example:8000", "https://batch.example/v1/stats", True),
        ("https://batch.example", "http://batch.example/v1/stats", False),
        ("http://batch.example", "http://batch.example:81/v1/stats", False),
        ("https://batch.example", "https://batch.example:444/v1/stats", False),
        ("https://batch.example", "https://login.batch.example/", False),
        ("https://batch.example", "https://batch.example.other/", False),
    ],
)
def test_over_https_the_same_host_is_the_service_too(service: str, address: str, *, is_there: bool) -> None:
    """Many proxies lead from http there; never back, and to no other port, whether it is named or not."""
    assert Service(service).is_at(URL(address)) is is_there
