"""Signed links: downloads in a browser, without a key in the address."""

import json
import string
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr, ValidationError
from yarl import URL

from service.api import links
from service.api.caller import CALLER, Caller
from service.api.keys import ORDERS, PRESETS, SETTINGS
from service.api.links import NewLink, _read_path
from service.api.share_links import SHARE_LINKS, ShareLink
from service.archives.renditions import read_presets
from service.problems import InvalidParameter, LinkNotFound
from service.settings import Settings
from service.upstream.models import ImageState
from service.upstream.order_document import parse_order
from tests.api.conftest import FIRST, SECOND, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

IMAGES = f"/v1/orders/{ORDER}/images"
JOB = "3c1f9a0be2aed94a8adc0e913b1e8403"
ARCHIVE = "0f0be2aed9df4adc84e0e913b1e03013"


@pytest.fixture(autouse=True)
def one_image(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a"])
    upstream.orders[OTHER_ORDER] = order(["a"], order_id=OTHER_ORDER)
    upstream.images["a"] = jpeg()


async def make(service: Service, path: object, key: str = FIRST, **headers: str) -> Answer:
    """Ask for a link."""
    return await send(service, "POST", "/v1/links", {"path": path}, {"X-API-Key": key} | headers)


async def link(service: Service, path: str = IMAGES, key: str = FIRST) -> str:
    """The link to a path."""
    answer = await make(service, path, key)
    assert answer.status == 201, answer.text
    url = answer.document["url"]
    assert isinstance(url, str)
    return url


async def test_a_link_downloads_without_a_key(service: Service) -> None:
    """The ZIP, by nothing but the address; a browser needs no header."""
    answer = await service.ask(await link(service))

    assert answer.status == 200
    assert len(answer.members) == 1


@pytest.mark.parametrize(
    "query",
    ["format=png&quality=80", "image=a", "wait=false&delivery=complete", "format=%70ng", "max_width=640&scale=0.5"],
)
async def test_a_link_keeps_the_query(upstream: FakeUpstream, service: Service, query: str) -> None:
    """What is downloaded is what was asked for, and the strict check of parameters still holds."""
    url = await link(service, f"{IMAGES}?{query}")

    answer = await service.ask(url)

    assert answer.status == 200
    assert URL(url).query.items() > URL(f"?{query}").query.items()
    assert upstream.requests("a")


async def test_a_link_says_when_it_ends(service: Service) -> None:
    """In time to come back after a lost connection; by default ten minutes."""
    answer = await make(service, IMAGES)

    expires = datetime.fromisoformat(str(answer.document["expires_at"]))
    assert 590 <= (expires - datetime.now(UTC)).total_seconds() <= 600
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_link_ends(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 from then on."""
    url = await link(service)
    now = time.time()

    monkeypatch.setattr(time, "time", lambda: now + links.LIFETIME_SECONDS + 1)

    answer = await service.ask(url)
    assert (answer.status, answer.problem["code"]) == (401, "link_refused")
    assert answer.headers["WWW-Authenticate"]


async def test_a_link_resumes(service: Service) -> None:
    """A browser that lost the connection asks for the rest with the same address."""
    url = await link(service)
    whole = await service.ask(url)

    rest = await service.ask(url, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})

    assert rest.status == 206
    assert rest.body == whole.body[100:]


async def test_a_link_answers_head(service: Service) -> None:
    """Download managers look first."""
    answer = await service.ask(await link(service), method="HEAD")

    assert answer.status == 200
    assert answer.headers["X-Total-Images"] == "1"


async def test_what_no_link_can_do_is_refused_when_it_is_made(service: Service) -> None:
    """A link that could never be opened would be found out by its receiver."""
    answer = await make(service, f"{IMAGES}?refresh=true", FIRST)

    assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter")


async def test_links_to_archives_and_jobs(service: Service) -> None:
    """All three addresses of a ZIP can be signed."""
    archive = (await service.download(headers={"X-API-Key": FIRST})).headers["X-Archive-Id"]

    by_archive = await service.ask(await link(service, f"/v1/archives/{archive}"))
    by_job = await service.ask(await link(service, f"/v1/jobs/{JOB}/download"))

    assert by_archive.status == 200
    assert (by_job.status, by_job.problem["code"]) == (404, "job_not_found")


async def test_every_change_of_a_link_is_noticed(service: Service) -> None:
    """Wherever a character of it is replaced, dropped or added, it opens nothing: 401, or no such address."""
    url = await link(service, f"{IMAGES}?format=png&image=a")
    start = url.index(ORDER)
    changed = set()
    for place in range(start, len(url), 7):
        other = "0" if url[place] != "0" else "1"
        changed |= {
            url[:place] + other + url[place + 1 :],
            url[:place] + url[place + 1 :],
            url[:place] + other + url[place:],
        }

    statuses = {one: (await service.ask(one)).status for one in changed}

    assert {one: status for one, status in statuses.items() if status not in (401, 404)} == {}
    assert list(statuses.values()).count(401) > len(statuses) / 2


CHANGES: list[Callable[[URL], URL]] = [
    lambda url: url.with_path(url.path.replace(ORDER, OTHER_ORDER), keep_query=True),
    lambda url: url.with_path(f"/v1/orders/{ORDER}", keep_query=True),
    lambda url: url.with_path("/v1/stats", keep_query=True),
    lambda url: url.update_query(preview="false"),
    lambda url: url.extend_query(image="b"),
    lambda url: url.without_query_params("image"),
    lambda url: url.update_query(expires=str(int(url.query["expires"]) + 1)),
    lambda url: url.extend_query(expires="9999999999"),
    lambda url: url.without_query_params("expires"),
    lambda url: url.extend_query(signature="0" * 64),
    lambda url: url.update_query(signature=""),
    lambda url: url.update_query(signature=url.query["signature"].upper()),
    lambda url: url.update_query(signature="s\u00edgnature"),
]


async def test_a_link_opens_nothing_else(service: Service) -> None:
    """Another order, another route, other options, a later end: 401."""
    url = URL(await link(service, f"{IMAGES}?image=a"))

    for changed in [change(url) for change in CHANGES]:
        answer = await service.ask(str(changed))
        assert (answer.status, answer.problem["code"]) == (401, "link_refused"), changed


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_link_only_reads(service: Service, method: str) -> None:
    """Nothing can be begun, or ended, by it."""
    answer = await service.ask(await link(service), method=method)

    assert answer.status == 401


async def test_links_need_a_caller(service: Service) -> None:
    """Whoever may not download gets no link either."""
    answer = await make(service, IMAGES, key="wrong")

    assert answer.status == 401


async def test_a_link_makes_no_links(service: Service) -> None:
    """Its signature says nothing about other addresses."""
    query = URL(await link(service)).query_string

    answer = await send(service, "POST", f"/v1/links?{query}", {"path": IMAGES})

    assert answer.status == 401


async def test_an_administrator_gets_links_without_a_key(service: Service) -> None:
    """The page of an administrator downloads too."""
    made = await send(service, "POST", "/v1/links", {"path": IMAGES}, {"X-Admin-Token": TOKEN})

    answer = await service.ask(str(made.document["url"]))

    assert answer.status == 200


async def test_every_replica_accepts_a_link_until_its_key_goes(start_service: StartService) -> None:
    """A key may be moved to the end of the list; once it is dropped, its links are worth nothing."""
    url = await link(await start_service(service_api_key=SECOND), key=SECOND)
    replica = await start_service(service_api_key=f"{FIRST},{SECOND}")
    later = await start_service(service_api_key=FIRST)

    assert [(await replica.ask(url)).status, (await later.ask(url)).status] == [200, 401]


async def test_a_links_downloads_are_those_of_its_caller(start_service: StartService) -> None:
    """Links do not multiply what a key may do, nor do others suffer for it."""
    service = await start_service(service_api_key=f"{FIRST},{SECOND}", rate_limit="2/minute")
    urls = [await link(service) for _ in range(3)]

    statuses = [(await service.ask(url)).status for url in urls]
    other = await service.ask(await link(service, key=SECOND))

    assert statuses == [200, 200, 429]
    assert other.status == 200


async def test_an_open_service_needs_no_signature(start_service: StartService) -> None:
    """The address works as it is and has no end: the page may ask for a link in any case."""
    service = await start_service()

    made = await send(service, "POST", "/v1/links", {"path": f"{IMAGES}?format=png"})

    assert made.document == {"url": f"{IMAGES}?format=png", "expires_at": None}


async def test_without_keys_a_signature_is_an_unknown_parameter(start_service: StartService) -> None:
    """The query stays strict where nothing is signed."""
    service = await start_service()

    answer = await service.ask(f"{IMAGES}?expires=1&signature=x")

    assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter")


async def test_a_single_image_can_be_signed(service: Service) -> None:
    """With the parameters that it has, and no others."""
    made = await make(service, f"{IMAGES}/a?max_width=480&download=true")
    refused = await make(service, f"{IMAGES}/a?wait=true")

    answer = await service.ask(made.document["url"])

    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert (refused.status, refused.problem["parameter"]) == (400, "wait")


NO_DOWNLOADS: list[object] = [
    "",
    "/",
    "/v1/stats",
    "/v1/orders/x/images",
    f"/v1/orders/{ORDER}",
    f"/v1/orders/{ORDER}/jobs",
    f"{IMAGES}/",
    f"/{IMAGES}",
    f"//evil.example{IMAGES}",
    f"https://evil.example{IMAGES}",
    f"{IMAGES}#x",
    f"{IMAGES}?quality=91",
    f"{IMAGES}?expires=9999999999",
    f"{IMAGES}?unknown=1",
    f"/v1/orders/{ORDER}%2F..%2Fimages",
    f"/v1/archives/{ARCHIVE}?x=1",
    f"/v1/archives/{ARCHIVE}/report",
    "/v1/archives/x",
    f"/v1/jobs/{JOB}",
    "http://[broken",
    IMAGES.replace("images", "im\u0000ages"),
    f"{IMAGES}?image={'x' * 7000}",
    7,
    None,
]


async def test_only_downloads_are_signed(service: Service) -> None:
    """Anything else is a bad request, and so is a query that the download would refuse."""
    for path in NO_DOWNLOADS:
        answer = await make(service, path)
        assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter"), path


async def test_keys_are_not_in_links(service: Service) -> None:
    """Neither the key nor anything that it could be guessed from at a glance."""
    url = await link(service)

    signature = URL(url).query["signature"]
    assert FIRST not in url
    assert len(signature) == 64
    assert set(signature) <= set(string.hexdigits.lower())


async def test_a_callers_link_ends_with_its_key_whoever_else_may_make_links(start_service: StartService) -> None:
    """It is signed with that, not with the administrators' token."""
    service = await start_service(service_api_key=f"{FIRST},{SECOND}", admin_token=TOKEN)
    url = await link(service)
    without_it = await start_service(service_api_key=SECOND, admin_token=TOKEN)

    assert [(await each.ask(url)).status for each in (service, without_it)] == [200, 401]


@pytest.mark.parametrize(
    ("path", "base", "read"),
    [
        (f"/v1/orders/{ORDER}/images", "", ...),
        (f"/orders/{ORDER.upper()}/images?quality=80", "", ...),
        (f"/v1/orders/{ORDER}/images/a%2Fb?format=png", "", ...),
        (f"/v1/archives/{'0' * 32}", "", ...),
        (f"/v1/jobs/{'0' * 32}/download", "", ...),
        (f"/jobs/{'0' * 32}/download", "", ...),
        (f"/batch/v1/orders/{ORDER}/images", "/batch", f"/v1/orders/{ORDER}/images"),
        (f"/v1/orders/{ORDER}/images", "/batch", ...),
        (f"/batchv1/orders/{ORDER}/images", "/batch", None),
        (f"/batch/batch/v1/orders/{ORDER}/images", "/batch", None),
        (f"https://other.example/v1/orders/{ORDER}/images", "", None),
        (f"//other.example/v1/orders/{ORDER}/images", "", None),
        (f"v1/orders/{ORDER}/images", "", None),
        (f"/v1/orders/{ORDER}/images#x", "", None),
        (f"/v1/orders/{ORDER}/images/", "", None),
        (f"/v1/orders/{ORDER}/images/a/b", "", None),
        ("/v1/orders/7/images", "", None),
        (f"/v1/orders/{ORDER}", "", None),
        (f"/v1/archives/{'0' * 32}?quality=80", "", None),
        (f"/v1/archives/{'0' * 32}/report", "", None),
        (f"/v1/jobs/{'0' * 32}", "", None),
        (f"/v1/orders/{ORDER}/images?qualty=80", "", None),
        (f"/v1/orders/{ORDER}/images/a?wait=true", "", None),
        ("http://[/", "", None),
    ],
)
def test_which_addresses_can_be_signed(path: str, base: str, read: Any) -> None:
    """Those of downloads, here, with a query that can be used; what is kept is the address within the service."""
    if read is None:
        with pytest.raises(InvalidParameter):
            _read_path(path, base, read_presets({}))
        return
    assert str(_read_path(path, base, read_presets({}))) == (path if read is ... else read)


def asked(query: str, match_info: Mapping[str, str] = {}, **parts: Any) -> web.Request:
    """A request of a caller of a service without keys."""
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None, autoenhance_api_key=SecretStr("key"), max_images_per_order=1)
    app[PRESETS] = read_presets({})
    app[SHARE_LINKS] = cast(Any, SimpleNamespace(**parts))
    request = make_mocked_request("GET", f"/v1/links?{query}", app=app, match_info=dict(match_info))
    request[CALLER] = Caller()
    return request


@pytest.mark.parametrize(("there", "cursor"), [(1, None), (2, None), (3, "1" * 32)])
async def test_only_where_more_links_are_there_is_another_page(there: int, cursor: str | None) -> None:
    """It begins behind the last one that was told."""
    known = [made(str(number) * 32) for number in range(there)]

    async def find(maker: str | None, after: str, limit: int) -> list[ShareLink]:
        assert (maker, after) == ("", "")
        return known[:limit]

    answer = await links.find(asked("limit=2", find=find))

    page = json.loads(cast(bytes, answer.body))
    assert [item["link_id"] for item in page["items"]] == [link.link_id for link in known[:2]]
    assert page["next_cursor"] == cursor


def made(link_id: str) -> ShareLink:
    return ShareLink(
        link_id=link_id, token="t", maker="", order_id=ORDER, order_name=None, query="", images=(), created=0, expires=9
    )


@pytest.mark.parametrize(
    ("maker", "caller", "is_ended"),
    [
        ("", Caller(), True),
        ("caller:one", Caller(), False),
        ("administrator", Caller(), False),
        ("administrator", Caller(is_administrator=True), True),
        ("caller:one", Caller(is_administrator=True), True),
    ],
)
async def test_a_link_is_ended_by_its_maker_or_an_administrator(maker: str, caller: Caller, is_ended: bool) -> None:
    """Anybody else is told that there is none."""
    ended: list[ShareLink] = []
    link = made("1" * 32).model_copy(update={"maker": maker})

    async def get(_: str) -> ShareLink:
        return link

    async def revoke(link: ShareLink) -> None:
        ended.append(link)

    request = asked("", {"link_id": link.link_id}, get=get, revoke=revoke)
    request[CALLER] = caller
    if is_ended:
        assert (await links.revoke(request)).status == 204
    else:
        with pytest.raises(LinkNotFound):
            await links.revoke(request)

    assert ended == ([link] if is_ended else [])


@pytest.mark.parametrize("link_id", ["1" * 31, "..", "", "A" * 32])
async def test_what_cannot_be_a_links_id_is_not_looked_for(link_id: str) -> None:
    """Whatever it may lead to in a storage."""
    with pytest.raises(LinkNotFound):
        await links.revoke(asked("", {"link_id": link_id}))


class Shared:
    """What was done to share some photos of an order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *images: Any) -> None:
        self.steps: list[Any] = []
        self._order = parse_order(order(images))
        monkeypatch.setattr(links, "count", self._count)

    async def _count(self, _: web.Request) -> None:
        self.steps.append("counted")

    async def _get(self, order_id: str) -> Any:
        self.steps.append(order_id)
        return self._order

    async def _add(self, link: ShareLink) -> None:
        assert (link.maker, round(link.expires - link.created)) == ("", 60)
        self.names = [image.name for image in link.images]
        self.steps.append(([image.image_id for image in link.images], link.query))

    async def share(self, path: str) -> None:
        request = asked("", add=self._add)
        request.app[ORDERS] = cast(Any, SimpleNamespace(get=self._get))
        await links._share(request, URL(path), 60)


@pytest.mark.parametrize("choice", ["images?part=2&", "images?image=b&", "images/b?"])
async def test_a_link_to_some_photos_keeps_how_they_are_made_and_not_their_choice(
    monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    """That is in the record. The order is asked for on the maker's account, once it has room."""
    shared = Shared(monkeypatch, "a", "b")

    await shared.share(f"/v1/orders/{ORDER.upper()}/{choice}quality=80")

    assert shared.steps == ["counted", ORDER, (["b"], "quality=80")]


@pytest.mark.parametrize("state", ["processing", "waiting", "failed", "expired"])
async def test_what_can_be_had_one_day_is_shared(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """An image that is being made, but none that will not be."""
    record = SimpleNamespace(image_id="a", image_name=None, state=ImageState(state))
    shared = Shared(monkeypatch, "a")
    monkeypatch.setattr(links, "choose", lambda *_: [record])

    if state == "processing":
        await shared.share(IMAGES)
        assert (shared.steps[-1], shared.names) == ((["a"], ""), ["a.jpg"])
        return
    with pytest.raises(InvalidParameter):
        await shared.share(IMAGES)
    assert shared.steps == ["counted", ORDER]


@pytest.mark.parametrize("seconds", [0, -1, 30 * 24 * 3600 + 1, "60", 60.0, True])
def test_a_time_that_a_link_cannot_last(seconds: object) -> None:
    """Nothing but a whole number of seconds is read as one."""
    assert NewLink(path=IMAGES, expires_in=30 * 24 * 3600).expires_in == 30 * 24 * 3600
    with pytest.raises(ValidationError):
        NewLink.model_validate({"path": IMAGES, "expires_in": seconds})


@pytest.mark.parametrize(
    "path",
    [
        f"{IMAGES}?refresh=true",
        f"{IMAGES}?since=2026-01-01T00:00:00Z",
        f"{IMAGES}?max_credits=5",
        f"{IMAGES}?format=avif",
        f"{IMAGES}/a?include=original",
        f"/v1/archives/{ARCHIVE}",
    ],
)
async def test_what_a_link_cannot_keep_open_is_refused(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Before anything is counted, or asked of Autoenhance."""
    shared = Shared(monkeypatch, "a")

    with pytest.raises(InvalidParameter):
        await shared.share(path)

    assert shared.steps == []
