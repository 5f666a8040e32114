"""How the page and its files are served."""

import hashlib
import re
from base64 import b64encode
from typing import Any

import pytest

from tests.e2e.page.conftest import Visit
from tests.support.client import Answer, Service, StartService

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMIT = 150_000
GZIP = {"Accept-Encoding": "gzip"}


async def assets(site: Service) -> list[str]:
    """Addresses of the files that the page names."""
    text = (await site.ask("/")).body.decode()
    return re.findall(r'(?:href|src)="(/web/[^"]+)"', text)


async def test_the_page_needs_no_key(start_site: StartService) -> None:
    """Where callers need a key, the page and its files come without: it is the page that asks for the key."""
    site = await start_site(service_api_key="first")

    statuses = [(await site.ask(path)).status for path in ["/", *await assets(site)]]

    assert set(statuses) == {200}


async def test_the_policy_allows_what_the_page_came_with_and_no_other_host(site: Service) -> None:
    """Scripts and styles come from the service's own files or, by their hash, within the page; text never becomes
    markup."""
    answer = await site.ask("/")
    policy = answer.headers["Content-Security-Policy"]

    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    inline = re.findall(rb"<(script|style)>(.*?)</", answer.body, re.DOTALL)
    hashes: dict[bytes, list[str]] = {kind: [] for kind in (b"script", b"style")}
    for kind, text in inline:
        hashes[kind].append(f" 'sha256-{b64encode(hashlib.sha256(text).digest()).decode()}'")
    assert (len(hashes[b"script"]), len(hashes[b"style"])) == (2, 2)
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == "'self'" + "".join(hashes[b"script"])
    assert directives["style-src"] == "'self'" + "".join(hashes[b"style"])
    assert directives["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("version", "more"), [("2025-05-08", []), ("2026-10-01", ["avif", "jxl"]), ("none", ["avif", "jxl"])]
)
async def test_the_page_offers_the_formats_that_can_be_had(
    start_site: StartService, version: str, more: list[str]
) -> None:
    """At the version of the API that is asked."""
    site = await start_site(autoenhance_api_version=version)

    page = (await site.ask("/")).body.decode()

    (choice,) = re.findall(r'<select id="format".*?</select>', page, re.DOTALL)
    assert re.findall(r'value="(\w+)"', choice) == ["jpeg", "png", "webp", *more]


async def test_files_are_kept_for_good_and_the_page_is_asked_for_again(site: Service) -> None:
    """The page is revalidated on every visit; its files have addresses that change with them."""
    page = await site.ask("/")
    files = [await site.ask(path) for path in await assets(site)]

    assert page.headers["Cache-Control"] == "no-cache"
    assert {file.headers["Cache-Control"] for file in files} == {"public, max-age=31536000, immutable"}


async def test_a_page_that_is_held_already_is_not_sent_again(site: Service) -> None:
    """Its ETag is honoured, with the same caching and policy."""
    first = await site.ask("/")

    again = await site.ask("/", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Cache-Control"] == "no-cache"


async def test_a_file_of_an_older_version_is_todays_and_not_kept(site: Service) -> None:
    """While replicas change over, an older page still finds its files, and they do not stick under the wrong name."""
    current = next(path for path in await assets(site) if path.endswith("/main.js"))
    older = re.sub(r"[0-9a-f]{16}", "0" * 16, current)

    answer = await site.ask(older)

    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["none.js", "index.html", "..%2f..%2fsettings.py", "%2e%2e%2fapp.py"])
async def test_nothing_else_is_served(site: Service, name: str) -> None:
    """Names are looked up among the page's files; there is no path to anything else."""
    answer = await site.ask(f"/web/{'0' * 16}/{name}")

    assert (answer.status, answer.problem["code"]) == (404, "not_found")


async def test_the_page_is_light(visit: Visit, site: Service) -> None:
    """HTML, CSS, scripts and icons are under 150 kB in all, even uncompressed, and go out compressed."""
    visitor = await visit()
    await visitor.open()
    loaded = [response for response in visitor.responses if not _is_api(response)]

    size = sum([len(await response.body()) for response in loaded])
    icon = await site.ask(next(path for path in await assets(site) if path.endswith(".svg")))
    compressed: list[Answer] = [await site.ask("/", headers=GZIP)]

    assert {response.url.rpartition("/")[2] for response in loaded} >= {"", "main.js"}
    assert size + len(icon.body) < LIMIT
    plain = [response.url for response in loaded if response.headers.get("content-encoding") is None]
    assert [url for url in plain if not url.endswith(".svg")] == []
    assert compressed[0].headers["Vary"] == "Accept-Encoding"


def _is_api(response: Any) -> bool:
    return "/v1/" in response.url


async def test_the_order_of_an_address_is_begun_with_the_page(start_site: StartService) -> None:
    """The header names the order and the script below the path of the proxy; with other options, or where a key is
    missing, there is none."""
    order_id = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"
    site, keyed = await start_site(base_path="/tools"), await start_site(service_api_key="first")

    links = (await site.ask(f"/tools/?order={order_id.upper()}")).headers["Link"].split(", ")
    without = [await site.ask(f"/tools/?order={order_id}&preview=false"), await site.ask("/tools/?order=12")]
    without.append(await keyed.ask(f"/?order={order_id}"))

    script = next(path for path in await assets(keyed) if path.endswith("main.js"))
    assert links == [
        f"</tools/v1/orders/{order_id}?>; rel=preload; as=fetch; crossorigin=anonymous",
        f"</tools{script}>; rel=modulepreload",
    ]
    assert [answer.headers.get("Link") for answer in without] == [None, None, None]
