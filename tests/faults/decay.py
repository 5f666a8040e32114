"""Image files that rot, shrink or vanish: never a wrong byte, and the same bytes again where upstream has them."""

import asyncio
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from aiohttp import ClientError
from blake3 import blake3

from service.sandbox import ImageSpec
from service.sandbox.state import Order
from tests.faults.findings import Findings
from tests.faults.scene import FULL_SIZE, Scene, members, open_scene

_LARGE = 24 << 20
"""More than the buffers between service and client hold."""


async def damage_files(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Damage stored images of finished archives, also over a restart, and ask for them by order and by id."""
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder, UPSTREAM_ATTEMPTS="1") as scene:
        for number in range(rounds):
            sizes = [rng.randrange(1_000, 300_000) for _ in range(rng.randint(2, 5))]
            order = scene.add_order([ImageSpec(size=size) for size in sizes])
            first = await scene.download(order)
            harmed = rng.sample(order.images, rng.randint(1, len(order.images)))
            restart = number % 4 == 3
            if restart:
                await scene.service.kill()
            for image in harmed:
                rng.choice(_DAMAGES)(file_of(scene, image.image_id), rng)
            if restart:
                await scene.service.start()
            round_ = _Round(findings, scene, order, first.headers["X-Archive-Id"], rng)
            await round_.ask_again({image.image_id for image in harmed}, first.body)
            await round_.ask_when_upstream_cannot_help()
    return findings


class _Round:
    def __init__(self, findings: Findings, scene: Scene, order: Order, archive_id: str, rng: random.Random) -> None:
        self._findings = findings
        self._scene = scene
        self._order = order
        self._archive = f"/v1/archives/{archive_id}"
        self._rng = rng

    async def ask_again(self, harmed: set[str], whole: bytes) -> None:
        """By id and by order, in either sequence."""
        scene, expected = self._scene, self._scene.expected(self._order)
        moment = scene.moment()
        for by_id in self._rng.sample([True, False], 2):
            answer = await (scene.ask(self._archive) if by_id else scene.download(self._order))
            self._findings.equal("a damaged archive is mended and answered", answer.status, 200)
            if by_id:
                self._findings.hold("an archive's id names the same bytes for ever", answer.body == whole)
            self._findings.hold("no damaged byte is delivered", members(answer.body) == expected)
        self._findings.equal("only what was damaged is fetched again", set(scene.fetched(moment)), harmed)
        self._findings.equal("and no credit is spent on it", scene.bought(self._order), len(self._order.images))

    async def ask_when_upstream_cannot_help(self) -> None:
        """An image is lost and cannot be had again: the id is gone, the order is what there is."""
        lost = self._rng.choice(self._order.images)
        self._rng.choice(_DAMAGES)(file_of(self._scene, lost.image_id), self._rng)
        self._scene.control.add_fault("status", status=404, image_id=lost.image_id, times=None)
        answer = await self._scene.ask(self._archive)
        self._findings.equal("an archive that cannot be mended is gone", answer.status, 410)
        answer = await self._scene.download(self._order)
        found = members(answer.body)
        found.pop("_download_report.txt", None)
        wanted = self._scene.expected(self._order)
        del wanted[lost.name]
        self._findings.hold("its order is delivered without the lost image", found == wanted, answer.status)
        self._scene.control.clear_faults()


async def damage_while_sending(folder: Path, *, rounds: int, seed: int) -> Findings:
    """Damage an image while it or the one before is on its way: the client sees an error, or the right bytes.

    A removed file that is still open is as good as before.
    """
    findings, rng = Findings(), random.Random(seed)
    async with open_scene(folder) as scene:
        for number in range(rounds):
            order = scene.add_order([ImageSpec(size=_LARGE), ImageSpec(size=_LARGE + number)])
            answer = await scene.download(order)
            archive, whole = f"/v1/archives/{answer.headers['X-Archive-Id']}", answer.body
            first, second = sorted(order.images, key=lambda image: whole.index(image.name.encode()))
            for image, damage in ((first, _shorten), (second, rng.choice([_shorten, _remove]))):
                file = file_of(scene, image.image_id)
                broke = await _read_and_damage(scene, archive, partial(damage, file, rng), whole)
                ends = ("cut", "whole") if damage is _remove else ("cut",)
                findings.hold("an image that is lost on the way ends in a cut, or was still open", broke in ends, broke)
                answer = await scene.ask(archive)
                findings.hold("the next caller gets the same bytes", answer.body == whole, answer.status)
            findings.equal("the service is healthy", (await scene.ask("/readyz")).status, 200)
    return findings


async def _read_and_damage(scene: Scene, path: str, damage: Callable[[], None], whole: bytes) -> str:
    """Begin to read, damage, read on; how it ended."""
    body = bytearray()
    try:
        async with scene.session.get(scene.service.url + path) as response:
            body += await response.content.readexactly(64 * 1024)
            await asyncio.to_thread(damage)
            async for chunk in response.content.iter_any():
                body += chunk
    except (ClientError, ConnectionError):
        return "cut" if _is_blanked(bytes(body), whole) else "wrong bytes"
    except TimeoutError:
        return "hung"
    return "whole" if bytes(body) == whole else "looks whole"


def _is_blanked(body: bytes, whole: bytes) -> bool:
    """Whether a body is right but for zeros.

    `sendfile` hands pages to the socket, not copies, so shortening a file in place blanks what is still on its way of
    the pages around the new end. The service itself never changes a finished file.
    """
    return all(one in (0, other) for one, other in zip(body, whole, strict=False))


def file_of(scene: Scene, image_id: str) -> Path:
    """Where the service keeps an image."""
    digest = blake3(scene.control.expected(image_id, FULL_SIZE)).hexdigest()
    return scene.data_dir / "images" / digest[:2] / digest


def _flip(file: Path, rng: random.Random) -> None:
    with file.open("r+b") as stream:
        at = rng.randrange(file.stat().st_size)
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 0x40]))


def _shorten(file: Path, rng: random.Random) -> None:
    os.truncate(file, rng.randrange(file.stat().st_size // 2))


def _lengthen(file: Path, rng: random.Random) -> None:
    with file.open("ab") as stream:
        stream.write(rng.randbytes(rng.randint(1, 5000)))


def _remove(file: Path, _: random.Random) -> None:
    file.unlink()


def _blank(file: Path, _: random.Random) -> None:
    """What a power cut may leave: the right length, and no content."""
    file.write_bytes(bytes(file.stat().st_size))


_DAMAGES = (_flip, _shorten, _lengthen, _remove, _blank)
