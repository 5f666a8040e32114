"""Names from all of Unicode: what is not seen is not there, and long ones cost nobody time."""

import asyncio
import re
import time
import unicodedata

import pytest

from tests.support.client import Service
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.upstream import FakeUpstream

# Of each category, and of those that are letters or signs but show nothing.
UNSEEN: dict[str, str] = {
    "controls": "\x00\x01\x1f\x7f\x80\x9f",
    "line ends": "\n\r\x0b\x0c\x85\u2028\u2029",
    "format": "\u00ad\u061c\u200b\u200e\u202e\u2060\u2066\ufeff\U000e0001",
    "tags": "".join(chr(code) for code in range(0xE0020, 0xE0080)),
    "variation selectors": "\ufe00\ufe0f\U000e0100\U000e01ef\u180b",
    "joiners": "\u034f\u200c\u200d\u17b4\u17b5",
    "Hangul fillers": "\u115f\u1160\u3164\uffa0",
    "braille blank": "\u2800",
    "private": "\ue000\uf8ff\U000f0000\U0010fffd",
    "noncharacters": "\ufdd0\ufdef\ufffe\uffff\U0001fffe\U0010ffff",
    "unassigned": "\u0378\u2fe0\U000e0080",
    "half pairs": "\ud800\udfff",
}


@pytest.mark.parametrize("unseen", UNSEEN.values(), ids=UNSEEN)
async def test_what_is_not_seen_is_not_in_a_name(upstream: FakeUpstream, service: Service, unseen: str) -> None:
    """Nor between letters, nor at the ends, nor alone; in the ZIP, the overview and the archive's own name alike."""
    names = [f"kit{unseen}chen.jpg", f"{unseen}bath{unseen}.jpg", unseen, *(f"{one}.jpg" for one in unseen)]
    ids = [f"i{number}" for number in range(len(names))]
    upstream.orders[ORDER] = order(
        [photo(image_id, name) for image_id, name in zip(ids, names, strict=True)], name=f"12{unseen} Harbour Lane"
    )
    upstream.images |= {image_id: jpeg(number) for number, image_id in enumerate(ids)}

    answer = await service.download()
    overview = await service.ask(f"/v1/orders/{ORDER}")

    assert len(answer.members) == len(names)
    found = [*answer.members, *(image["file_name"] for image in overview.document["images"])]
    found.append(re.findall(r"filename\*=UTF-8''(\S+)", answer.headers["Content-Disposition"])[0])
    assert [name for name in found if set(name) & set(unseen)] == []
    assert all(unicodedata.category(letter) not in ("Cc", "Cf", "Cn", "Co", "Cs") for name in found for letter in name)


async def test_names_that_look_the_same_are_distinguished(upstream: FakeUpstream, service: Service) -> None:
    """They differ by what is not seen alone."""
    names = [
        "kitchen.jpg",
        "kit\u200bchen.jpg",
        "kitchen\ufe0f.jpg",
        "KITCHEN.jpg",
        "kitche\u0301n.jpg",
        "kitch\u00e9n.jpg",
    ]
    upstream.orders[ORDER] = order([photo(f"i{number}", name) for number, name in enumerate(names)])
    upstream.images |= {f"i{number}": jpeg(number) for number in range(len(names))}

    members = (await service.download()).members

    seen = {unicodedata.normalize("NFC", name).casefold() for name in members}
    assert len(seen) == len(names)


async def test_a_name_of_megabytes_costs_nobody_time(upstream: FakeUpstream, service: Service) -> None:
    """Neither an order's nor an image's: ten overviews of it keep others no longer than ten of a short one would."""
    long = "\u0301e\u200b" * 200_000
    upstream.orders[ORDER] = order([photo("a", long)], name=long)
    upstream.orders[OTHER_ORDER] = order(["b"], order_id=OTHER_ORDER)
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}
    first = await service.download()
    spent = time.thread_time()

    answers = await asyncio.gather(*(service.download() for _ in range(10)))
    named = await asyncio.gather(*(service.ask(f"/v1/orders/{ORDER}") for _ in range(10)))

    assert {answer.body for answer in answers} == {first.body}
    assert all(len(answer.document["name"]) <= 1_000 for answer in named)
    assert len(first.headers["Content-Disposition"]) < 1_000
    assert time.thread_time() - spent < 5
