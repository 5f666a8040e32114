"""What an answer may be under any fault: a whole ZIP that tells the truth, a problem document, or a cut connection."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from zipfile import BadZipFile

from aiohttp import ClientError, ClientTimeout

from service.sandbox.state import Order
from tests.faults.scene import QUERY, Scene, members

REPORT = "_download_report.txt"
_REPORTED = re.compile(r"^  image id: (\S+)\r?$", re.MULTILINE)

STATUSES: Mapping[str, int] = {
    "no_images": 422,
    "breaker_open": 503,
    "store_full": 503,
    "upstream_busy": 503,
    "upstream_error": 502,
    "upstream_timeout": 504,
    "upstream_unauthorized": 401,
    "order_not_found": 404,
}
"""What a download may be refused with while upstream, network or disk fail, and the status of each."""


class Ending(StrEnum):
    """How an answer ended. `FALSE` and `HUNG` must never happen."""

    WHOLE = "whole ZIPs"
    PARTIAL = "whole ZIPs with a report"
    PROBLEM = "problem documents"
    CUT = "cut connections"
    FALSE = "false answers"
    HUNG = "hung requests"


@dataclass(frozen=True)
class Verdict:
    """How an answer ended, and what there is to say about it: a problem's code, or what is wrong."""

    ending: Ending
    detail: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it is one of the answers that may be given."""
        return self.ending not in (Ending.FALSE, Ending.HUNG)


async def judge(scene: Scene, order: Order, *, seconds: float, base: str | None = None) -> Verdict:
    """Ask for the archive of an order, at most `seconds` seconds, and judge the answer."""
    url = (base or scene.service.url) + scene.order_path(order)
    try:
        async with scene.session.get(url, params=QUERY, timeout=ClientTimeout(total=seconds)) as response:
            body = await response.read()
    except TimeoutError:
        return Verdict(Ending.HUNG, order.order_id)
    except (ClientError, ConnectionError) as error:
        return Verdict(Ending.CUT, type(error).__name__)
    if response.status == 200:
        return _archive(body, scene.expected(order), {image.image_id: image.name for image in order.images})
    return _problem(response.status, response.content_type, body)


def _archive(body: bytes, expected: Mapping[str, bytes], names: Mapping[str, str]) -> Verdict:
    try:
        found = members(body)
    except BadZipFile as error:
        return Verdict(Ending.FALSE, f"a broken ZIP that looks whole: {error}")
    reported = [names[image_id] for image_id in _REPORTED.findall(found.pop(REPORT, b"").decode())]
    # What Autoenhance itself has only a part of is in the archive as it is, and reported.
    cut = {name for name in reported if name in found and expected[name].startswith(found[name])}
    wrong = [name for name, content in found.items() if expected.get(name) != content and name not in cut]
    missing = (expected.keys() - found.keys()) | cut
    if wrong or sorted(reported) != sorted(missing):
        return Verdict(Ending.FALSE, f"wrong {wrong}, missing {sorted(missing)}, reported {reported}")
    return Verdict(Ending.PARTIAL if missing else Ending.WHOLE)


def _problem(status: int, media_type: str, body: bytes) -> Verdict:
    if media_type != "application/problem+json":
        return Verdict(Ending.FALSE, f"{status} {media_type}")
    document = json.loads(body)
    code = document["code"]
    if document["status"] != status or STATUSES.get(code) != status:
        return Verdict(Ending.FALSE, f"{status} {code}")
    return Verdict(Ending.PROBLEM, code)
