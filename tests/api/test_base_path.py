"""The service below a path, as a proxy offers it."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import urljoin

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from service.api.base_path import base_path, complete_headers, external, in_html, taken_off, with_external_links
from service.api.keys import SETTINGS
from service.settings import Settings
from tests.api.conftest import FIRST, TOKEN
from tests.support import jobs
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

BASE = "/tools/batch"
# How callers reach it: what the settings say, what the proxy sends along, and whether it leaves the path on.
WAYS: dict[str, tuple[dict[str, object], dict[str, str], str]] = {
    "left on": ({"base_path": BASE}, {}, BASE),
    "taken off": ({"base_path": f"{BASE}/"}, {}, ""),
    "said by a trusted proxy": ({"trusted_proxies": "127.0.0.1"}, {"X-Forwarded-Prefix": f"{BASE}/"}, ""),
}
_ADDRESS = re.compile(r"""(?:\b(?:href|src|action)=|\bfrom |\bimport )["']([^"'#]+)""")


class Below:
    """The service as a browser sees it through the proxy: every address begins with the path."""

    def __init__(self, service: Service, headers: Mapping[str, str], left_on: str) -> None:
        self._service = service
        self._headers = headers
        self._left_on = left_on

    async def ask(self, path: str, method: str = "GET", document: object = None, **headers: str) -> Answer:
        """Ask for an address as the service gave it."""
        assert path.startswith(f"{BASE}/") or path == BASE, path
        sent = self._left_on + path.removeprefix(BASE)
        async with self._service.session.request(
            method,
            self._service.url + sent,
            json=document,
            headers={**self._headers, "X-API-Key": FIRST, **headers},
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())


@pytest.fixture(params=WAYS)
async def below(request: pytest.FixtureRequest, upstream: FakeUpstream, start_service: StartService) -> Below:
    """A service with keys, below a path."""
    upstream.orders[ORDER], upstream.images["a"] = order(["a"]), jpeg()
    settings, headers, left_on = WAYS[request.param]
    secret = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
    service = await start_service(
        service_api_key=FIRST, admin_token=TOKEN, callback_secret=secret, callback_allow_private=True, **settings
    )
    return Below(service, headers, left_on)


@pytest.mark.parametrize("start", ["/", "/docs", "/docs/guide/settings"])
async def test_whatever_a_page_needs_or_leads_to_is_there(below: Below, start: str) -> None:
    """Styles, scripts, their modules, icons, pictures, links: all below the path."""
    page = BASE + start
    text = (await below.ask(page)).body.decode()
    addresses = {urljoin(page, found) for found in _ADDRESS.findall(text) if "://" not in found}
    scripts = [address for address in addresses if address.endswith(".js") and "swagger" not in address]
    for script in scripts:
        modules = _ADDRESS.findall((await below.ask(script)).body.decode())
        addresses |= {urljoin(script, module) for module in modules if module.startswith("./")}

    statuses = {address: (await below.ask(address)).status for address in sorted(addresses)[:60]}

    assert "<style" in text or any(address.endswith(".css") for address in statuses)
    assert scripts
    assert {address: status for address, status in statuses.items() if status not in (200, 302)} == {}


async def test_redirects_stay_below_it(below: Below) -> None:
    """The first page of the guide."""
    answer = await below.ask(f"{BASE}/docs/guide")

    assert answer.headers["Location"].startswith(f"{BASE}/docs/guide/")
    assert (await below.ask(answer.headers["Location"])).status == 200


async def test_a_job_is_followed_by_what_it_says(below: Below) -> None:
    """`Location`, links in documents and events, the report of the ZIP."""
    made = await below.ask(f"{BASE}/v1/orders/{ORDER}/jobs", "POST")
    events = (await below.ask(made.document["links"]["events"])).body.decode()
    last = json.loads(re.findall(r"^data: (.+)$", events, re.MULTILINE)[-1])
    job = await below.ask(made.headers["Location"])
    links = job.document["links"]
    zip_file = await below.ask(links["download"])
    report = re.fullmatch(r'<(.+)>; rel="describedby"', zip_file.headers["Link"])

    assert last["links"] == links
    assert {(await below.ask(path)).status for path in links.values()} <= {200, 204}
    assert len(zip_file.images) == 1
    assert report is not None
    assert (await below.ask(report[1])).document["downloaded"] == 1


async def test_the_overview_leads_to_images_below_it(below: Below) -> None:
    """Each image by itself."""
    (image,) = (await below.ask(f"{BASE}/v1/orders/{ORDER}")).document["images"]

    assert (await below.ask(image["link"])).body == jpeg()


def links_in(document: object) -> Iterator[str]:
    """Everything in a document that is an address on this host."""
    match document:
        case dict():
            for value in document.values():
                yield from links_in(value)
        case list():
            for value in document:
                yield from links_in(value)
        case str() if document.startswith("/"):
            yield document


async def test_every_address_in_a_document_is_below_it(below: Below) -> None:
    """Of jobs, lists of them, overviews, reports and problems; what it leads to is there."""
    made = await below.ask(f"{BASE}/v1/orders/{ORDER}/jobs", "POST")
    await below.ask(made.document["links"]["events"])
    asked = [
        await below.ask(made.headers["Location"]),
        await below.ask(f"{BASE}/v1/jobs"),
        await below.ask(f"{BASE}/v1/jobs", **{"X-API-Key": "wrong"}),
        await below.ask(f"{BASE}/v1/jobs/{'0' * 32}"),
        await below.ask(f"{BASE}/v1/orders/{ORDER}"),
        await below.ask(f"{BASE}/v1/orders/{ORDER}/images?colour=red"),
        await below.ask(f"{BASE}/v1/orders/{ORDER}/images", "PATCH"),
        await below.ask(f"{BASE}/v1/stats"),
        await below.ask(f"{BASE}/nowhere"),
    ]
    found = [list(links_in(answer.document)) for answer in asked]

    assert [bool(each) for each in found] == [True, True, True, True, True, True, True, False, True]
    assert {(await below.ask(path.partition("#")[0])).status for each in found for path in each} <= {200, 204, 302}


async def test_a_callback_leads_below_it(below: Below) -> None:
    """It is sent long after the request that said where the service is."""
    async with jobs.Receiver() as receiver:
        made = await below.ask(f"{BASE}/v1/orders/{ORDER}/jobs?callback_url={receiver.url}", "POST")
        await receiver.until(lambda: bool(receiver.received))

    told = receiver.received[0].message["data"]["links"]
    assert told == (await below.ask(made.headers["Location"])).document["links"]
    assert (await below.ask(told["download"])).status == 200


async def test_what_is_no_request_is_told_below_it(start_service: StartService) -> None:
    """Where the settings say it: nothing else is known of such a connection."""
    service = await start_service(base_path=BASE)

    answer = await service.raw("NONSENSE\n\n")

    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"].startswith(f"{BASE}/docs/errors#")


@pytest.mark.parametrize("given", [BASE, ""])
async def test_a_signed_link_works_below_it(below: Below, given: str) -> None:
    """Whichever address it was asked for."""
    path = f"{given}/v1/orders/{ORDER}/images?format=png"
    made = await below.ask(f"{BASE}/v1/links", "POST", {"path": path})

    answer = await below.ask(made.document["url"], **{"X-API-Key": ""})

    assert answer.status == 200


async def test_the_reference_tries_out_what_is_below_it(below: Below) -> None:
    """The OpenAPI document names the path as its server."""
    assert (await below.ask(f"{BASE}/openapi.json")).document["servers"] == [{"url": BASE}]


async def test_a_session_is_for_the_service_alone(below: Below) -> None:
    """Others on this host do not get its cookie."""
    answer = await below.ask(f"{BASE}/v1/session", "POST", {"token": TOKEN})

    assert f"Path={BASE}" in answer.headers["Set-Cookie"]


async def test_passages_of_the_guide_are_found_below_it(below: Below) -> None:
    """Those that the help box shows."""
    answer = await below.ask(f"{BASE}/v1/ask", "POST", {"question": "How do I resume a download?"})

    urls = re.findall(r'"url": "([^"#]+)', answer.body.decode())
    assert urls
    assert {(await below.ask(url)).status for url in urls} == {200}


@pytest.mark.parametrize(
    "said", ["//evil.example", "https://evil.example", "/a b", '/"><script>', "/a?b", "batch", "/.."]
)
async def test_what_is_no_path_is_not_believed(start_service: StartService, said: str) -> None:
    """Nor is anything from a proxy that nobody trusts."""
    trusting, wary = await start_service(trusted_proxies="127.0.0.1"), await start_service()

    by_trusted = await trusting.ask("/", headers={"X-Forwarded-Prefix": said})
    by_other = await wary.ask("/", headers={"X-Forwarded-Prefix": BASE})

    assert by_trusted.body == by_other.body == (await wary.ask("/")).body


async def test_what_only_looks_like_it_is_not_below_it(start_service: StartService) -> None:
    """Another path that begins alike."""
    service = await start_service(base_path="/batch")

    statuses = [
        (await service.ask(path)).status for path in ("/batch", "/batch/", "/batch?x=1", "/batches", "/batch//")
    ]

    assert statuses == [200, 200, 200, 404, 404]


class Message(NamedTuple):
    """The head of a request."""

    path: str
    url: URL


@pytest.mark.parametrize(
    ("asked", "inside"),
    [
        ("/batch", "/"),
        ("/batch?x=1", "/?x=1"),
        ("/batch/v1/jobs?x=%2F", "/v1/jobs?x=%2F"),
        ("/batch/batch/x", "/batch/x"),
        ("/batch//v1", "//v1"),
        ("/batchv1/jobs", "/batchv1/jobs"),
        ("/batch-v1", "/batch-v1"),
        ("/v1/batch/jobs", "/v1/batch/jobs"),
        ("/", "/"),
    ],
)
def test_the_path_is_taken_off_what_is_below_it(asked: str, inside: str) -> None:
    """Nothing else is changed by it, and nothing where there is none."""
    message = Message(asked, URL(asked, encoded=True))
    made: list[Message] = []

    taken_off("/batch", made.append)(message)  # type: ignore[arg-type]
    taken_off("", made.append)(message)  # type: ignore[arg-type]

    path, _, query = inside.partition("?")
    assert made == [Message(inside, URL.build(path=path, query_string=query, encoded=True)), message]


async def test_a_path_names_no_other_host(start_service: StartService) -> None:
    """A page of that name would be taken for one of ours, which may start jobs."""
    service = await start_service(base_path="/batch")
    foreign = {"Origin": "http://evil.example"}

    answer = await send(service, "POST", f"/batch//evil.example/v1/orders/{ORDER}/jobs?preview=false", None, foreign)

    assert answer.status == 404


def at(base: str = "", said: str | None = None, peer: str = "10.0.0.1") -> web.Request:
    """A request by a proxy that is trusted, if it is that one."""
    app = web.Application()
    app[SETTINGS] = Settings.load(_env_file=None, base_path=base, trusted_proxies="10.0.0.1")
    transport = SimpleNamespace(get_extra_info=lambda *_: (peer, 9))
    headers = {} if said is None else {"X-Forwarded-Prefix": said}
    return make_mocked_request("GET", "/", headers=headers, app=app, transport=transport)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"base": "/a"}, "/a"),
        ({"said": "/b"}, "/b"),
        ({"said": "/b/"}, "/b"),
        ({"said": "/b", "peer": "10.0.0.2"}, ""),
        ({"base": "/a", "said": "/b"}, "/a"),
        ({"said": "//evil.example"}, ""),
        ({"said": "b"}, ""),
        ({"said": '/b"x'}, ""),
    ],
)
def test_what_the_path_is(given: dict[str, str], expected: str) -> None:
    """As it is set, or as a trusted proxy says."""
    assert base_path(at(**given)) == expected
    assert external(at(**given), "/v1") == f"{expected}/v1"


@pytest.mark.parametrize(
    ("base", "location", "link"),
    [
        ("/a", "/a/x", '</a/x>; rel="y", </a/z>; rel="w"'),
        ("", "/x", '</x>; rel="y", </z>; rel="w"'),
    ],
)
async def test_headers_lead_below_the_path(base: str, location: str, link: str) -> None:
    """What leads elsewhere stays, and so does an answer without them."""
    ours = web.Response(headers={"Location": "/x", "Link": '</x>; rel="y", </z>; rel="w"'})
    elsewhere, bare = web.Response(headers={"Location": "https://example.com/x"}), web.Response()
    for response in (ours, elsewhere, bare):
        await complete_headers(at(base), response)

    assert (ours.headers["Location"], ours.headers["Link"]) == (location, link)
    assert elsewhere.headers["Location"] == "https://example.com/x"
    assert not {"Location", "Link"} & set(bare.headers)


def test_links_of_a_page_lead_below_the_path() -> None:
    """Those to other hosts, and other words, stay as they are."""
    page = b'<a href="/x"><img src="/y"><form action="/z"><a href="//e.example/"><a href="w" title="/v">'

    assert in_html(page, "/a") == (
        b'<a href="/a/x"><img src="/a/y"><form action="/a/z"><a href="//e.example/"><a href="w" title="/v">'
    )


@pytest.mark.parametrize("base", ["", "/a"])
def test_links_of_a_document_lead_below_the_path(base: str) -> None:
    """There may be none to lead anywhere."""
    document = {"links": {"self": "/x", "download": None}, "path": "/x"}

    assert with_external_links(at(base), document) == {"links": {"self": f"{base}/x", "download": None}, "path": "/x"}
    assert document["links"] == {"self": "/x", "download": None}
