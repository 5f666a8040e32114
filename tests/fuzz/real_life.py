"""What users, odd upstreams and download managers do, at random and against a model of what is right.

Each kind runs for so many seconds, and at least twice.
"""

import asyncio
import random
import string
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.faults.findings import Findings
from tests.real.test_bytes import iso
from tests.real.test_download_managers import Manager
from tests.support.client import Service
from tests.support.samples import ORDER, jpeg, order, photo, png, webp
from tests.support.services import service_factory
from tests.support.upstream import FakeUpstream, Handler, Reply

Kind = Callable[[Findings, FakeUpstream, Service, random.Random, Path], Any]


async def fuzz_kind(findings: Findings, folder: Path, kind: Kind, *, seconds: float, seed: int) -> None:
    """One kind for so many seconds, and at least two rounds; each round by a seed of its own, which a failure tells."""
    rounds, end = 0, time.monotonic() + seconds
    async with FakeUpstream() as upstream, service_factory(upstream.url, folder) as start_service:
        service = await start_service(order_freshness=0, archive_ttl=60)
        while rounds < 2 or time.monotonic() < end:
            own = seed * 1_000_003 + rounds
            upstream.orders.clear()
            place = folder / f"{kind.__name__}-{rounds}"
            await asyncio.to_thread(place.mkdir, parents=True)
            try:
                await kind(findings, upstream, service, random.Random(own), place)
            except Exception as error:
                findings.hold(f"{kind.__name__}: a round comes to its end", False, f"{own}: {error!r:.300}")
            rounds += 1
    findings.figure(f"rounds of {kind.__name__}", rounds)


def _fresh(chance: random.Random, count: int) -> list[str]:
    """Ids of images that nobody has heard of."""
    return [f"{chance.getrandbits(64):016x}" for _ in range(count)]


# Record fields that come, go and change


@dataclass
class _Photo:
    """An image at Autoenhance, with what makes it the picture that it is."""

    image_id: str
    version: int = 0
    marks: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    status: str = "processed"
    downloaded: bool = False
    fetched: set[tuple[Any, ...]] = field(default_factory=set)

    @property
    def picture(self) -> tuple[Any, ...]:
        """What it looks like follows from this."""
        return (self.version, *sorted(self.settings.items()))

    @property
    def body(self) -> bytes:
        """The picture."""
        return jpeg(random.Random(repr((self.image_id, self.picture))).getrandbits(32))


_MARKS = ("updated_at", "last_updated_at", "version", "status_reason")
_SETTINGS = {
    "enhance_type": ("property", "warm", "neutral"),
    "sky_replacement": (True, False),
    "upscale": (True, False),
}


async def records(findings: Findings, upstream: FakeUpstream, service: Service, chance: random.Random, _: Path) -> None:
    """Fields of no meaning never fetch an image again; those that say that it was made anew always do."""
    photos = [_Photo(image_id) for image_id in _fresh(chance, 4)]

    def look(one: _Photo) -> dict[str, Any]:
        noise = {
            name: chance.choice([None, chance.getrandbits(20), {"seen": chance.random()}, [chance.random()], "x"])
            for name in ("preview_url", "views", "expires_at", "rating", f"f{chance.getrandbits(16)}")
            if chance.random() < 0.6
        }
        own = {"status": one.status, "downloaded": one.downloaded}
        items = list((photo(one.image_id) | noise | own | one.marks | one.settings).items())
        chance.shuffle(items)
        return dict(items)

    async def document(_: web.Request) -> web.StreamResponse:
        return web.json_response(order([look(one) for one in photos], account={"seen": chance.random()}))

    def script(one: _Photo) -> Handler:
        async def send(_: web.Request) -> web.StreamResponse:
            return web.Response(body=one.body, content_type="image/jpeg")

        return send

    upstream.orders[ORDER] = document
    upstream.images |= {one.image_id: script(one) for one in photos}
    for _step in range(8):
        changes = [_change(one, chance) for one in photos if chance.random() < 0.4]
        answer = await service.download(preview="false")
        ready = [one for one in photos if one.status == "processed"]
        for one in ready:
            one.fetched.add(one.picture)
        wanted = {f"{one.image_id}.jpg": one.body for one in ready}
        found = answer.images if answer.status == 200 else {}
        findings.equal("records: each image as it is now", found, wanted)
        calls = {one.image_id: upstream.calls(one.image_id) for one in photos}
        right = {one.image_id: len(one.fetched) for one in photos}
        findings.hold("records: each picture is bought once", calls == right, f"{changes}: {calls} for {right}")
        if calls != right:
            return


def _change(one: _Photo, chance: random.Random) -> str:
    """Something happens to an image; what is told of it."""
    if one.status != "processed":
        one.status, one.version = "processed", one.version + 1
        return "finished"
    match chance.choice(["mark", "mark", "setting", "bought", "again", "error"]):
        case "mark":
            name = chance.choice(_MARKS)
            value = chance.choice([None, str(chance.getrandbits(30)), f"2026-03-02T09:{chance.randrange(60):02d}:04"])
            if one.marks.get(name) == value:
                return "nothing"
            one.marks[name] = value
            one.version += 1
            return f"{name}={value}"
        case "setting":
            name, values = chance.choice(list(_SETTINGS.items()))
            one.settings[name] = chance.choice(values)
            return name
        case "bought" if not one.downloaded and one.fetched:
            one.downloaded = True
            one.marks["updated_at"] = f"2026-03-03T10:{chance.randrange(60):02d}:05"
            return "bought"
        case "again":
            one.status = "processing"
        case "error":
            one.status = "error"
        case _:
            return "nothing"
    return one.status


# Labels, brands and ends of images

_LABELS = [
    "image/jpeg",
    "text/plain",
    "application/json",
    "multipart/mixed; boundary=x",
    "binary",
    "",
    "/",
    "Bild",
    "*/*",
]
_BRANDS = {b"heic": "heic", b"heix": "heic", b"hevc": "heic", b"avif": "avif", b"avis": "avif"}


async def bodies(findings: Findings, upstream: FakeUpstream, service: Service, chance: random.Random, _: Path) -> None:
    """Bytes decide what an image is and whether it is whole, whatever it is labelled."""
    ids = _fresh(chance, 8)
    wanted: dict[str, bytes] = {}
    cut: set[str] = set()
    for image_id in ids:
        body, extension, last = _picture(chance)
        match chance.choice(["whole", "whole", "tail", "cut"]):
            case "tail" if extension in ("jpg", "png", "webp"):
                body += chance.choice([bytes(chance.randrange(1, 500)), jpeg(3), b"\xff\xd9", chance.randbytes(40)])
            case "cut":
                body = body[: chance.randrange(last, len(body))]
                cut.add(image_id)
            case _:
                pass
        label = chance.choice([*_LABELS, "".join(chance.choices(string.ascii_letters + "/;=-\"' ", k=12)).strip()])
        upstream.images[image_id] = Reply(
            body=body,
            headers={"Content-Type": label} if label else {},
            content_type="x/y",
            chunked=chance.random() < 0.3,
        )
        wanted[f"{image_id}.{extension}"] = body
    upstream.orders[ORDER] = order(ids)

    answer = await service.download()
    report = await service.ask(f"/v1/archives/{answer.headers['X-Archive-Id']}/report")

    codes = {image["image_id"]: image["code"] for image in report.document["images"]}
    findings.equal("bodies: every image arrives under the name that its bytes give it", answer.images, wanted)
    findings.equal(
        "bodies: those that end too early are named, and no others",
        codes,
        {image_id: "incomplete" if image_id in cut else None for image_id in ids},
    )
    calls = {image_id: upstream.calls(image_id) for image_id in ids}
    findings.equal("bodies: only they are fetched twice", calls, {one: 2 if one in cut else 1 for one in ids})


def _picture(chance: random.Random) -> tuple[bytes, str, int]:
    """An image, its extension, and from where on it may be cut so that it still is an image, and not whole."""
    seed, size = chance.getrandbits(30), 2 * chance.randrange(200, 60_000)
    match chance.choice(["jpg", "png", "webp", "iso"]):
        case "jpg":
            return jpeg(seed, size), "jpg", 40
        case "png":
            return png(seed, size), "png", 40
        case "webp":
            return webp(seed, size), "webp", 20
        case _:
            brand, extension = chance.choice(list(_BRANDS.items()))
            others = [chance.choice([b"mif1", b"miaf", b"msf1", brand]) for _ in range(chance.randrange(4))]
            major = chance.choice([brand, b"mif1", b"msf1"])
            body = iso(major, *others, brand, extra=chance.randbytes(chance.randrange(60)))
            return body, extension, len(body) - 2_000


# Names from all of Unicode

_CATEGORIES: dict[str, list[str]] = {}
_LONGEST_NAME = 150


async def names(findings: Findings, upstream: FakeUpstream, service: Service, chance: random.Random, _: Path) -> None:
    """Whatever the originals are called, members have names that are seen, short, and told apart."""
    if not _CATEGORIES:
        for code in range(0x110000):
            _CATEGORIES.setdefault(unicodedata.category(chr(code)), []).append(chr(code))
    ids = _fresh(chance, 25)
    pieces = [
        "kitchen",
        "CON",
        "..",
        "/",
        "\\",
        ".jpg",
        ".DNG",
        " ",
        "_1",
        "_download_report.txt",
        "e\u0301",
        "\u202egpj.exe",
    ]

    def name() -> str:
        letters = [chance.choice(_CATEGORIES[chance.choice(list(_CATEGORIES))]) for _ in range(chance.randrange(9))]
        parts = letters + chance.choices(pieces, k=chance.randrange(4))
        chance.shuffle(parts)
        return "".join(parts) * chance.choice([1, 1, 1, 90])

    originals = [name() for _ in ids]
    originals[1] = originals[0]
    upstream.orders[ORDER] = order([photo(one, given) for one, given in zip(ids, originals, strict=True)], name=name())
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(ids)}

    answer = await service.download()
    overview = await service.ask(f"/v1/orders/{ORDER}")

    found = list(answer.members)
    findings.equal("names: every image is there", sorted(answer.members.values()), sorted(map(jpeg, range(len(ids)))))
    said = [image["file_name"] for image in overview.document["images"]]
    findings.equal("names: the overview says the same", sorted(said), sorted(found))
    same = {unicodedata.normalize("NFKC", one).casefold() for one in found}
    findings.equal("names: no two look the same", len(same), len(found))
    for one in found:
        unseen = [
            letter for letter in one if unicodedata.category(letter) in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
        ]
        findings.hold("names: all of it is seen", not unseen, ascii(one))
        findings.hold("names: none is long", 0 < len(one.encode()) <= _LONGEST_NAME, ascii(one))
        findings.hold("names: none is a path", not set(one) & set('/\\:*?"<>|'), ascii(one))


# Retry-After in every form, by clocks that are wrong


async def pauses(findings: Findings, upstream: FakeUpstream, service: Service, chance: random.Random, _: Path) -> None:
    """However it is said, and by whatever clock: every image arrives, and not before it was asked for."""
    ids = _fresh(chance, 5)
    least: dict[str, float] = {}
    for number, image_id in enumerate(ids):
        refusal, seconds = _refusal(chance)
        upstream.images[image_id] = [refusal] * chance.randrange(1, 3) + [jpeg(number)]
        least[image_id] = seconds
    upstream.orders[ORDER] = order(ids)

    answer = await service.download()

    wanted = {f"{image_id}.jpg": jpeg(number) for number, image_id in enumerate(ids)}
    findings.equal("pauses: every image arrives", answer.images if answer.status == 200 else answer.body, wanted)
    for image_id, seconds in least.items():
        first, second = upstream.requests(image_id)[:2]
        findings.hold("pauses: nobody comes back too early", second.at - first.at >= seconds, f"{seconds} s")


def _refusal(chance: random.Random) -> tuple[Handler, float]:
    """An answer that asks for a pause, and the least that has to be waited for it."""
    status = chance.choice([429, 429, 429, 503])
    wait, off = chance.choice([0, 1, 2]), timedelta(seconds=chance.randrange(-(10**8), 10**8))
    form = chance.choice(["seconds", "imf", "850", "asctime", "nonsense", "none"])
    nonsense = chance.choice(
        ["soon", "-1", "", "1.5", "1, 2", "\u0661".encode().decode("latin-1"), "Mon, 99 Foo", "0x1"]
    )

    async def answer(_: web.Request) -> web.StreamResponse:
        now = datetime.now(UTC) + off
        until = now + timedelta(seconds=wait)
        said = {
            "seconds": str(wait),
            "imf": format_datetime(until, usegmt=True),
            "850": f"{until:%A, %d-%b-%y %H:%M:%S} GMT",
            "asctime": f"{until:%a %b %e %H:%M:%S %Y}",
            "nonsense": nonsense,
            "none": None,
        }[form]
        headers = {"Date": format_datetime(now, usegmt=True)} | ({} if said is None else {"Retry-After": said})
        return web.Response(status=status, headers=headers)

    is_said = form in ("seconds", "imf", "asctime", "850")
    # Dates have whole seconds.
    return answer, max(0.0, wait - (0.05 if form == "seconds" else 1.0)) if is_said else 0.0


# Option sets of download managers

_ARIA2 = (
    "aria2c",
    "--no-conf=true",
    "--console-log-level=error",
    "--summary-interval=0",
    "--auto-file-renaming=false",
    "--retry-wait=1",
    "-o",
    "order.zip",
)
_MANAGERS: dict[tuple[str, ...], list[tuple[str, ...]]] = {
    ("wget", "-q", "-O", "order.zip"): [
        ("-c",),
        ("--tries=2",),
        ("--no-use-server-timestamps",),
        ("--no-http-keep-alive",),
        ("--read-timeout=20",),
        ("--content-disposition",),
        ("--no-cache",),
    ],
    _ARIA2: [
        ("-c",),
        ("-x8", "-s8", "-k1M"),
        ("-x2", "-s4", "-k1M", "--min-split-size=1M"),
        ("--allow-overwrite=true",),
        ("--always-resume=false",),
        ("--max-tries=2",),
        ("--http-accept-gzip=true",),
        ("--conditional-get=true", "--allow-overwrite=true"),
        ("--file-allocation=none",),
        ("--remote-time=true",),
        ("--stream-piece-selector=random",),
    ],
    ("curl", "-s", "-S", "-o", "order.zip"): [
        ("-C", "-"),
        ("-f",),
        ("--retry", "2", "--retry-delay", "1"),
        ("--compressed",),
        ("--no-keepalive",),
        ("--http1.1",),
        ("-L",),
        ("--remote-time",),
    ],
}
_PIECE = 300_000


async def managers(
    findings: Findings, upstream: FakeUpstream, service: Service, chance: random.Random, folder: Path
) -> None:
    """Whatever its options, whatever it has, whatever has changed: whoever ends well has a whole archive."""
    ids = _fresh(chance, chance.randrange(3, 9))
    upstream.images |= {image_id: jpeg(chance.getrandbits(30), _PIECE) for image_id in ids}
    upstream.orders[ORDER] = order(ids)
    program, options = chance.choice(list(_MANAGERS.items()))
    chosen = [word for option in chance.sample(options, chance.randrange(1, 4)) for word in option]
    query = chance.choice(["", "?quality=70", "?delivery=complete", "?on_failure=strict"])
    path = f"/v1/orders/{ORDER}/images{query}"
    before = await service.ask(path)
    one = Manager((*program, *chosen), folder, service.url + path)
    kept = chance.choice(
        [None, 0, 1, _PIECE, len(before.body) - 1, len(before.body), chance.randrange(len(before.body))]
    )
    if kept is not None:
        await asyncio.to_thread(one.file.write_bytes, before.body[:kept])
    change = chance.choice(["nothing", "nothing", "another", "fewer", "anew"])
    if change == "another":
        upstream.images["more"] = jpeg(chance.getrandbits(30), _PIECE)
        upstream.orders[ORDER] = order([*ids, "more"])
    elif change == "fewer":
        upstream.orders[ORDER] = order(ids[:-1])
    elif change == "anew":
        upstream.images |= {image_id: jpeg(chance.getrandbits(30), _PIECE) for image_id in ids}
        upstream.orders[ORDER] = order([photo(image_id, updated_at="2027-01-01") for image_id in ids])

    ended = await one.run()
    now = await service.ask(path)

    # Without -f, curl leaves the problem document in place of a file and calls it done: it was asked for that.
    is_told = program[0] == "curl" and "-f" not in chosen and b'"status": 412' in ended.file
    right = ended.code != 0 or is_told or ended.members in (before.members, now.members)
    said = f"{program[0]} {chosen} {query} had {kept}, {change}: {len(ended.file)} bytes {ended.words[:100]}"
    findings.hold("managers: whoever ends well has a whole archive", right, said)
    if change == "nothing" and kept is None:
        findings.hold("managers: a first download ends well", ended.code == 0, f"{said} exit {ended.code}")


KINDS: dict[str, Kind] = {kind.__name__: kind for kind in (records, bodies, names, pauses, managers)}


async def fuzz(folder: Path, *, seconds: float, seed: int) -> Findings:
    """All kinds, each for so many seconds."""
    findings = Findings()
    for name, kind in KINDS.items():
        await fuzz_kind(findings, folder / name, kind, seconds=seconds, seed=seed)
    return findings
