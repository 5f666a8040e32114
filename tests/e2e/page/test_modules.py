"""The page's modules by themselves, in the browser that runs them."""

import pytest

from service.api.page import url
from tests.e2e.page.conftest import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_speed_and_time_left_follow_from_what_arrived(visit: Visit) -> None:
    """Ten images in ten seconds after a burst of five that were here already: one per second."""
    visitor = await visit()
    await visitor.open()

    speed, left, early = await visitor.page.evaluate(
        """async (address) => {
          const { TransferRate } = await import(address);
          const rate = new TransferRate();
          for (let image = 1; image <= 5; image += 1) rate.note(image, image * 1000, image / 100);
          const early = rate.left(20, 0.5);
          for (let second = 1; second <= 10; second += 1) rate.note(5 + second, (5 + second) * 1000, second);
          return [rate.speed(10), rate.left(20, 10), early];
        }""",
        url("transfer_rate.js"),
    )

    assert speed == pytest.approx(1000, rel=0.01)
    assert left == pytest.approx(20, rel=0.01)
    assert early is None


async def test_an_old_speed_is_forgotten(visit: Visit) -> None:
    """What counts is the last quarter of a minute: a download that stands still has no speed."""
    visitor = await visit()
    await visitor.open()

    speed = await visitor.page.evaluate(
        """async (address) => {
          const { TransferRate } = await import(address);
          const rate = new TransferRate();
          for (let second = 0; second <= 100; second += 1) rate.note(second, Math.min(second, 50) * 1000, second);
          return rate.speed(100);
        }""",
        url("transfer_rate.js"),
    )

    assert speed == 0


async def test_numbers_are_read_easily(visit: Visit) -> None:
    """Sizes and times in the unit that a person would choose."""
    visitor = await visit()
    await visitor.open()

    written = await visitor.page.evaluate(
        """async (address) => {
          const { bytes, duration, photos } = await import(address);
          return [
            [999, 1000, 999_499, 999_500, 37_000_000].map(bytes),
            [59.4, 59.6, 3600, 90_000].map(duration),
            [0, 1, 2].map(photos),
          ];
        }""",
        url("format.js"),
    )

    assert written == [
        ["999 bytes", "1.0 kB", "999 kB", "1.0 MB", "37 MB"],
        ["59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"],
        ["0 photos", "1 photo", "2 photos"],
    ]


async def test_events_are_read_whatever_the_network_cuts_them_into(visit: Visit) -> None:
    """A message may come in pieces, with CRLF, with comments in between, and with several lines of data."""
    visitor = await visit()
    await visitor.open()

    found = await visitor.page.evaluate(
        """async (address) => {
          const { messages } = await import(address);
          const one = ': still here\\n\\nid: 7\\ndata: {"a":\\ndata: 1}\\n\\n';
          const text = one + 'event: done\\r\\ndata: é\\r\\n\\r\\ndata: cut';
          const bytes = new TextEncoder().encode(text);
          const body = new ReadableStream({
            start(controller) {
              for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
              controller.close();
            },
          });
          const seen = [];
          for await (const message of messages({ body })) seen.push(message);
          return seen;
        }""",
        url("events.js"),
    )

    assert found == [
        {"id": "7", "event": "message", "data": '{"a":\n1}'},
        {"id": "", "event": "done", "data": "é"},
    ]


async def test_a_problem_is_told_in_its_own_words(visit: Visit) -> None:
    """The document's sentence and next step; a pause unless it is in them; our own words only without a document."""
    visitor = await visit()
    await visitor.open()

    told = await visitor.page.evaluate(
        """async (address) => {
          const { Refusal } = await import(address);
          const document = JSON.stringify({ title: "Too many", detail: "The next may come in 40 seconds.", code: "x" });
          return [
            Refusal.from(document, 429, 40),
            Refusal.from(document, 429, 60),
            Refusal.from(document, 503, 5),
            Refusal.from("<html>Bad gateway</html>", 502),
            Refusal.offline(),
          ].map((refusal) => [refusal.sentence, refusal.next]);
        }""",
        url("problems.js"),
    )

    step = "The next may come in 40 seconds."
    assert told == [
        ["Too many.", step],
        ["Too many.", f"{step} Wait 60 seconds before you try again."],
        ["Too many.", step],
        [
            "The service responded with status 502.",
            "Try again. If it happens again, tell the operator of this service.",
        ],
        [
            "The service cannot be reached.",
            "Check your connection, then try again. Photos already downloaded are kept.",
        ],
    ]
