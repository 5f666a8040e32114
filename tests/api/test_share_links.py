"""Share links: for days, with a page, without a key; they open what they were made for and nothing else."""

import re
import time
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest
from yarl import URL

from service.api.share_links import link_id_of
from tests.api.conftest import FIRST, SECOND, TOKEN
from tests.support.client import Answer, Service, StartService
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order
from tests.support.sending import send
from tests.support.upstream import FakeUpstream

IMAGES = f"/v1/orders/{ORDER}/images"
PREVIEW = "preview=true&max_width=480"
DAY = 24 * 3600


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    upstream.orders[ORDER] = order(["a", "b"], name="12 Harbour Lane")
    upstream.orders[OTHER_ORDER] = order(["c"], order_id=OTHER_ORDER)
    upstream.images |= {image: jpeg() for image in ("a", "b", "c")}


async def make(service: Service, path: str = IMAGES, seconds: object = DAY, key: str = FIRST) -> Answer:
    """Ask for a share link."""
    return await send(service, "POST", "/v1/links", {"path": path, "expires_in": seconds}, {"X-API-Key": key})


async def share(service: Service, path: str = IMAGES, key: str = FIRST) -> str:
    """The address of a share link's page."""
    answer = await make(service, path, key=key)
    assert answer.status == 201, answer.text
    page = answer.document["page"]
    assert isinstance(page, str)
    return page


async def test_a_share_link_has_an_id_a_page_and_an_end(service: Service) -> None:
    """Everything that is needed to send it, and to take it back."""
    answer = await make(service, seconds=30 * DAY)

    link = answer.document
    token = link["page"].removeprefix("/s/")
    assert link == {
        "link_id": link_id_of(token),
        "url": f"/s/{token}/download",
        "page": f"/s/{token}",
        "expires_at": link["expires_at"],
    }
    left = (datetime.fromisoformat(link["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert 30 * DAY - 60 < left <= 30 * DAY
    assert token not in link["link_id"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_page_shows_and_saves_without_a_key(service: Service) -> None:
    """The order's name, each photo, and all of them; nothing of it is for search engines."""
    page = await share(service)

    html = await service.ask(page)
    photo = await service.ask(f"{page}/images/a")
    preview = await service.ask(f"{page}/images/b?{PREVIEW}")
    saved = await service.ask(f"{page}/images/a?download=true")
    everything = await service.ask(f"{page}/download")

    assert (html.status, html.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for part in ("12 Harbour Lane", "2 previews", "a.jpg", "b.jpg", f"{page}/images/a?download=true"):
        assert part in html.body.decode()
    assert (photo.status, photo.body, preview.status) == (200, jpeg(), 200)
    assert saved.headers["Content-Disposition"].startswith("attachment")
    assert sorted(everything.images) == ["a.jpg", "b.jpg"]
    for answer in (html, photo, preview, everything):
        assert "noindex" in answer.headers["X-Robots-Tag"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert FIRST not in html.text


async def test_as_many_photos_are_shared_as_are_chosen(upstream: FakeUpstream, service: Service) -> None:
    """They are kept with the link; an address that is only signed has to hold them itself."""
    ids = [f"{at:0250}" for at in range(40)]
    upstream.orders[ORDER] = order(ids)
    path = f"{IMAGES}?{'&'.join(f'image={one}' for one in ids[1:])}"

    html = await service.ask(await share(service, path))
    signed = await send(service, "POST", "/v1/links", {"path": path}, {"X-API-Key": FIRST})

    assert "39 previews" in html.body.decode()
    assert (signed.status, signed.problem["code"], signed.problem["parameter"]) == (400, "invalid_parameter", "path")


async def test_the_page_names_the_studio(start_service: StartService) -> None:
    """`BRAND_NAME`, as text whatever is in it; an order's and a photo's name too."""
    service = await start_service(brand_name="Lumen <b>& Sons</b>")

    made = await send(service, "POST", "/v1/links", {"path": IMAGES, "expires_in": DAY})
    html = (await service.ask(str(made.document["page"]))).body.decode()

    assert "Photos from Lumen &lt;b&gt;&amp; Sons&lt;/b&gt;" in html
    assert "<b>" not in html


@pytest.mark.parametrize("name", ['<script>alert(1)</script>"', "$title ${body}", "a' onload='x", '" onload="x'])
async def test_names_are_text(upstream: FakeUpstream, service: Service, name: str) -> None:
    """What an order or an image is called never becomes markup."""
    upstream.orders[ORDER] = order(["a"], name=name)

    html = (await service.ask(await share(service))).body.decode()

    assert f"<h1>{escape(name)}</h1>" in html
    assert not re.findall("[<]script>| onload=['\"]", html)


async def test_a_share_link_answers_head(service: Service) -> None:
    """Download managers look first; nothing is begun."""
    page = await share(service)

    answers = [await service.ask(page + path, method="HEAD") for path in ("", "/download", "/images/a")]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert answers[1].headers["X-Total-Images"] == "2"


async def test_a_shared_download_resumes(service: Service) -> None:
    """As at the order's own address."""
    page = await share(service)
    whole = await service.ask(f"{page}/download")

    rest = await service.ask(f"{page}/download", headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})

    assert (rest.status, rest.body) == (206, whole.body[100:])


async def test_a_link_fixes_the_photos(upstream: FakeUpstream, service: Service) -> None:
    """What comes into the order later is not shared, and what leaves it is not missed by the others."""
    page = await share(service)
    upstream.orders[ORDER] = order(["b", "new"])
    upstream.images["new"] = jpeg()

    service_has = await service.ask(f"{page}/images/new")
    everything = await service.ask(f"{page}/download")

    assert (service_has.status, service_has.problem["code"]) == (404, "image_not_found")
    assert "new.jpg" not in everything.images


async def test_a_link_to_some_photos_opens_those(service: Service) -> None:
    """By `image`, or to one image by itself."""
    some = await share(service, f"{IMAGES}?image=b&format=png")
    one = await share(service, f"{IMAGES}/a")

    assert [(await service.ask(f"{some}/images/{image}")).status for image in ("a", "b")] == [404, 200]
    assert [(await service.ask(f"{one}/images/{image}")).status for image in ("a", "b")] == [200, 404]
    assert len((await service.ask(f"{one}/download")).images) == 1


@pytest.mark.parametrize(
    "query", ["rendition=print", "rendition=one,preview=false", "preview=false", "preview=false&download=true"]
)
async def test_a_link_to_one_photo_opens_it_as_it_was_asked_for(
    upstream: FakeUpstream, service: Service, query: str
) -> None:
    """However that was said; by itself and in the ZIP."""
    page = await share(service, f"{IMAGES}/a?{query}")

    answers = [await service.ask(page + path) for path in ("/images/a", "/download")]

    assert [answer.status for answer in answers] == [200, 200]
    assert [request.query["preview"] for request in upstream.requests("a")] == ["false"]


@pytest.mark.parametrize("image_id", ["a/b", "a%b", "a b", "ä"])
async def test_a_photo_of_any_id_is_shared(upstream: FakeUpstream, service: Service, image_id: str) -> None:
    """As its own address and the page have the id: quoted."""
    upstream.orders[ORDER] = order([image_id])
    upstream.images[image_id] = jpeg()

    page = await share(service, f"{IMAGES}/{quote(image_id, safe='')}")
    answer = await service.ask(f"{page}/images/{quote(image_id, safe='')}")

    assert (answer.status, answer.body) == (200, jpeg())


async def test_a_link_keeps_what_a_preset_was_when_it_was_made(
    start_service: StartService, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """The operator may give the name another meaning later, add to it, or take it away."""
    keys = {"service_api_key": FIRST, "data_dir": tmp_path / "one"}
    before = await start_service(**keys, renditions='{"flyer": {"max_width": 1200}}')
    page = await share(before, f"{IMAGES}?rendition=flyer")
    await before.stop()
    after = await start_service(**keys, renditions='{"flyer": {"max_width": 99, "quality": 80}}')

    await after.ask(f"{page}/download")

    asked = [request.query for request in upstream.requests("a")]
    assert [(query["max_width"], "quality" in query) for query in asked] == [("1200", False)]


OTHER_RENDITIONS = [
    "preview=false",
    "preview=false&dev_mode=true",
    "format=png",
    "quality=90",
    "max_width=481",
    "preview=true&max_width=4800",
    "preview=false&max_width=480",
    "scale=0.5",
    "image=c",
    "rendition=print",
    "include=original",
    "part=2",
    "nonsense=1",
]


async def test_no_other_rendition(upstream: FakeUpstream, service: Service) -> None:
    """Neither of a photo nor of the ZIP: 400, and nothing is asked of Autoenhance, least of all to buy."""
    page = await share(service, f"{IMAGES}?preview=true")

    for query in OTHER_RENDITIONS:
        one = await service.ask(f"{page}/images/a?{query}")
        everything = await service.ask(f"{page}/download?{query}")
        assert [one.status, everything.status] == [400, 400], query
    assert not upstream.requests("a")


async def test_full_size_only_if_made_for_it(upstream: FakeUpstream, service: Service) -> None:
    """The link says what is bought; its previews are free."""
    page = await share(service, f"{IMAGES}?preview=false&image=a")

    await service.ask(f"{page}/images/a?{PREVIEW}")
    free = [request.query["preview"] for request in upstream.requests("a")]
    bought = await service.ask(f"{page}/images/a")
    asked = [request.query["preview"] for request in upstream.requests("a")]

    assert (free, bought.status, asked) == (["true"], 200, ["true", "false"])


@pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose", "X-Moz"])
async def test_a_prefetch_buys_nothing(upstream: FakeUpstream, service: Service, header: str) -> None:
    """What a browser or a messenger fetches ahead costs its maker no credit."""
    page = await share(service, f"{IMAGES}?preview=false")

    answers = [await service.ask(page + path, headers={header: "prefetch"}) for path in ("/download", "/images/a")]

    assert [answer.status for answer in answers] == [403, 403]
    assert not upstream.requests("a")


async def test_unknown_revoked_and_expired_are_told_the_same(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """404, and not one word of difference: who guesses learns nothing."""
    revoked, expired = await make(service), await make(service, seconds=60)
    unknown = f"{str(revoked.document['page'])[:-8]}AAAAAAAA"
    await service.ask(f"/v1/links/{revoked.document['link_id']}", method="DELETE", headers={"X-API-Key": FIRST})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)

    for path in ("", "/download", "/images/a", f"/images/a?{PREVIEW}"):
        pages = (str(revoked.document["page"]), str(expired.document["page"]), unknown)
        answers = [await service.ask(page + path) for page in pages]
        assert [answer.status for answer in answers] == [404, 404, 404]
        bodies = [answer.document | {"request_id": ""} if path else answer.body for answer in answers]
        assert bodies[0] == bodies[1] == bodies[2]


NO_TOKENS = [
    "x",
    "A" * 31,
    "A" * 32,
    "A" * 33,
    "A" * 5000,
    "%00" * 32,
    "..%2F..%2Fv1",
    "%C3%A9" * 32,
    "a%20b",
    "-_" * 16,
    "*",
]


async def test_what_is_no_token_opens_nothing(service: Service) -> None:
    """404 for whatever is tried."""
    for token in NO_TOKENS:
        statuses = [(await service.ask(f"/s/{token}{path}")).status for path in ("", "/download", "/images/a")]
        assert set(statuses) <= {404}, token


async def test_every_change_of_a_token_is_noticed(service: Service) -> None:
    """Wherever a character is replaced, dropped or added: 404."""
    page = await share(service)
    token = page.removeprefix("/s/")
    changed = set()
    for place in range(0, len(token), 3):
        other = "0" if token[place] != "0" else "1"
        changed |= {
            token[:place] + other + token[place + 1 :],
            token[:place] + token[place + 1 :],
            token[:place] + other + token[place:],
            token[:place] + token[place].swapcase() + token[place + 1 :],
        }
    changed.discard(token)

    statuses = {one: (await service.ask(f"/s/{one}/images/a")).status for one in changed}

    assert len(statuses) > 30
    assert set(statuses.values()) == {404}


async def test_a_link_reaches_no_other_address(service: Service) -> None:
    """Its token is no key: not in a header, nor in a query, nor for another order."""
    page = await share(service)
    token = page.removeprefix("/s/")

    headers = ({"X-API-Key": token}, {"Authorization": f"Bearer {token}"}, {"X-Admin-Token": token})
    by_header = [(await service.ask(IMAGES, headers=given)).status for given in headers]
    others = [(await service.ask(f"{page}/images/{image}")).status for image in ("c", "A", "..", "%2e%2e%2fa", "a%2f")]

    assert by_header == [401, 401, 401]
    assert set(others) == {404}
    assert (await service.ask(f"{page}/report")).status == 401
    assert (await service.ask(f"{page}/download", method="DELETE")).status == 401


async def test_a_caller_lists_its_own_links(service: Service) -> None:
    """Newest first, page by page; another caller sees none of them, an administrator all."""
    made = [str((await make(service)).document["link_id"]) for _ in range(3)]
    await make(service, key=SECOND)

    first = await service.ask("/v1/links?limit=2", headers={"X-API-Key": FIRST})
    rest = await service.ask(f"/v1/links?limit=2&cursor={first.document['next_cursor']}", headers={"X-API-Key": FIRST})
    every = await service.ask("/v1/links", headers={"X-Admin-Token": TOKEN})

    found = [item["link_id"] for item in first.document["items"] + rest.document["items"]]
    assert found == sorted(made)
    assert rest.document["next_cursor"] is None
    assert len(every.document["items"]) == 4
    item = first.document["items"][0]
    assert (item["order_id"], item["name"], item["total"]) == (ORDER, "12 Harbour Lane", 2)


async def test_only_its_maker_or_an_administrator_revokes(service: Service) -> None:
    """Another caller is told that there is no such link."""
    links = [str((await make(service)).document["link_id"]) for _ in range(2)]

    async def revoke(link: str, **headers: str) -> int:
        return (await service.ask(f"/v1/links/{link}", method="DELETE", headers=headers)).status

    assert await revoke(links[0], **{"X-API-Key": SECOND}) == 404
    assert await revoke(links[0]) == 401
    assert await revoke(links[0], **{"X-API-Key": FIRST}) == 204
    assert await revoke(links[0], **{"X-API-Key": FIRST}) == 404
    assert await revoke(links[1], **{"X-Admin-Token": TOKEN}) == 204
    assert (await service.ask("/v1/links", headers={"X-API-Key": FIRST})).document["items"] == []


async def test_links_are_listed_to_administrators_only_where_all_may_call(start_service: StartService) -> None:
    """As jobs are; who made one can still end it."""
    service = await start_service(admin_token=TOKEN)
    made = await send(service, "POST", "/v1/links", {"path": IMAGES, "expires_in": DAY})

    assert (await service.ask("/v1/links")).status == 403
    assert len((await service.ask("/v1/links", headers={"X-Admin-Token": TOKEN})).document["items"]) == 1
    assert (await service.ask(f"/v1/links/{made.document['link_id']}", method="DELETE")).status == 204
    assert (await service.ask(str(made.document["page"]))).status == 404


async def test_a_link_outlives_a_restart_and_a_replaced_key(start_service: StartService, tmp_path: Path) -> None:
    """It is kept; where keys have names it belongs to the name. With its maker's last key it ends."""
    service = await start_service(service_api_key=f"studio:{FIRST}", data_dir=tmp_path / "kept")
    page = await share(service)
    await service.stop()

    replaced = await start_service(service_api_key=f"studio:{SECOND}", data_dir=tmp_path / "kept")
    opened = await replaced.ask(f"{page}/images/a")
    await replaced.stop()
    gone = await start_service(service_api_key=f"other:{SECOND}", data_dir=tmp_path / "kept")

    assert (opened.status, (await gone.ask(f"{page}/images/a")).status) == (200, 404)


async def test_a_shared_download_is_its_makers(start_service: StartService) -> None:
    """A link multiplies nothing: it counts on its maker's account, and others do not suffer for it."""
    service = await start_service(service_api_key=f"{FIRST},{SECOND}", rate_limit="2/minute")
    page = await share(service)

    statuses = [(await service.ask(f"{page}/download")).status for _ in range(3)]
    mine = await service.download(headers={"X-API-Key": FIRST})
    other = await service.download(headers={"X-API-Key": SECOND})

    assert (statuses, mine.status, other.status) == ([200, 200, 429], 429, 200)


NO_TIMES: list[object] = [0, -1, 30 * DAY + 1, "soon", 1.5, True, []]


async def test_a_time_that_cannot_be_is_a_bad_request(service: Service) -> None:
    """From one second to thirty days."""
    for seconds in NO_TIMES:
        answer = await make(service, seconds=seconds)
        assert (answer.status, answer.problem["parameter"]) == (400, "expires_in"), seconds


NOT_SHARED = [
    f"/v1/archives/{'0' * 32}",
    f"/v1/jobs/{'0' * 32}/download",
    f"{IMAGES}?refresh=true",
    f"{IMAGES}?preview=false&max_credits=0",
    f"{IMAGES}?quality=91",
    f"{IMAGES}/a?include=original",
    f"/v1/orders/{ORDER}",
    f"https://evil.example{IMAGES}",
]


async def test_only_orders_and_images_are_shared(service: Service) -> None:
    """Anything else is a bad request."""
    for path in NOT_SHARED:
        answer = await make(service, path)
        assert (answer.status, answer.problem["code"]) == (400, "invalid_parameter"), path


async def test_what_is_not_there_is_not_shared(service: Service) -> None:
    """A link to an order or image that does not exist would be a dead one."""
    missing = await make(service, f"/v1/orders/{ORDER[:-1]}0/images")
    unknown = await make(service, f"{IMAGES}?image=zz")

    assert [missing.status, unknown.status] == [404, 400]


async def test_the_page_works_below_a_path(start_service: StartService) -> None:
    """Every address on it, and the one that is answered, leads below `BASE_PATH`."""
    service = await start_service(base_path="/batch")
    made = await send(service, "POST", "/batch/v1/links", {"path": f"/batch{IMAGES}", "expires_in": DAY})
    page = str(made.document["page"])

    html = (await service.ask(page)).body.decode()

    assert page.startswith("/batch/s/")
    assert URL(page).path in html
    assert '="/s/' not in html
    assert '="/web/' not in html
    assert (await service.ask(f"{page}/images/a")).status == 200
