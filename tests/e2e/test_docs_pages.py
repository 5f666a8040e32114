"""The docs over HTTP: the reference at `/docs`, and the guide."""

import gzip
import re
from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import urldefrag, urljoin

import pytest

from service.docs import library
from tests.support.client import Service, StartService
from tests.support.doc_blocks import ROOT

VENDOR = ROOT / "service" / "web" / "vendor" / "swagger-ui"
ADDRESSES = ["/docs", *(f"/docs/guide/{slug}" for slug in library.pages())]


class Links(HTMLParser):
    """What a page loads, where it leads within the service, and the places in it that can be pointed to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        values = dict(attrs)
        target = values.get("href") or values.get("src")
        if target and not (tag == "a" and target.startswith("https://")):
            self.targets.add(target)
        self.places |= {values["id"] or ""} if "id" in values else set()
        if tag == "style" or "style" in values or (tag == "script" and "src" not in values):
            self.inline.append(tag)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_is_whole(service: Service, address: str) -> None:
    """Everything it loads and links to is there, down to the heading, and nothing of it comes from elsewhere."""
    answer = await service.ask(address)

    assert answer.status == HTTPStatus.OK
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Links(answer.body.decode())
    assert page.inline == []
    for target in page.targets:
        path, place = urldefrag(urljoin(address, target))
        assert path.startswith("/"), target
        found = await service.ask(path)
        assert found.status == HTTPStatus.OK, target
        is_drawn_in_the_browser = place.startswith("operations-tag-")  # and followed there, by a test of its own
        if place and not is_drawn_in_the_browser:
            assert place in Links(found.body.decode()).places, target


@pytest.mark.parametrize("address", ADDRESSES)
async def test_a_page_may_run_nothing_but_our_files(service: Service, address: str) -> None:
    """The policy names this origin for scripts and styles, without exceptions for inline code."""
    policy = (await service.ask(address)).headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "style-src 'self';" in policy
    assert "unsafe" not in policy


async def test_a_page_is_sent_again_only_when_it_changed(service: Service) -> None:
    """Who holds it asks with its tag and gets a 304."""
    first = await service.ask("/docs/guide/faq")

    again = await service.ask("/docs/guide/faq", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, again.body) == (HTTPStatus.NOT_MODIFIED, b"")
    assert first.headers["Cache-Control"] == "no-cache"


async def test_the_reference_s_files_travel_compressed_and_stay(service: Service) -> None:
    """The bundle is 1.7 MB: sent as the 0.5 MB that ship with it, and kept for good under its version."""
    html = (await service.ask("/docs")).body.decode()
    (bundle,) = re.findall(r'src="(/docs/files/[^"]+/swagger-ui-bundle\.js)"', html)

    async with service.session.get(service.url + bundle, headers={"Accept-Encoding": "gzip"}) as response:
        body = await response.read()

    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) < 500_000
    assert "immutable" in response.headers["Cache-Control"]
    assert body == (VENDOR / "swagger-ui-bundle.js").read_bytes()
    stale = await service.ask(re.sub(r"[0-9a-f]{16}", "0" * 16, bundle))
    assert (stale.status, stale.headers["Cache-Control"]) == (HTTPStatus.OK, "no-cache")


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css"])
def test_what_ships_compressed_is_what_ships(name: str) -> None:
    """The compressed copy of a vendored file is made from it."""
    assert gzip.decompress((VENDOR / f"{name}.gz").read_bytes()) == (VENDOR / name).read_bytes()


@pytest.mark.parametrize(
    "address",
    [
        "/docs/source",
        "/docs/..%2Fpyproject.toml",
        "/docs/guide/nothing",
        "/docs/guide/..%2Fquick-start",
        "/docs/files/0000000000000000/page.html",
        "/docs/x",
    ],
)
async def test_what_is_no_page_is_not_found(service: Service, address: str) -> None:
    """Only what was meant to be shown is."""
    assert (await service.ask(address)).status == HTTPStatus.NOT_FOUND


async def test_the_docs_need_no_key(start_service: StartService) -> None:
    """A browser cannot send one when it follows a link."""
    service = await start_service(service_api_key=("key-1",))

    for address in ADDRESSES:
        assert (await service.ask(address)).status == HTTPStatus.OK
