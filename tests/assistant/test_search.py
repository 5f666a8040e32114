"""Questions find the passage that answers them, and the counters that they ask for."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from service.assistant.live import live_answer
from service.assistant.search import Index
from service.docs import library

STATS = {
    "uptime_seconds": 7_400,
    "orders_processed": 3,
    "images_downloaded": 1_234,
    "images_failed": 1,
    "zips_served": 5,
}


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    """The shipped docs."""
    with closing(Index([passage for page in library.pages().values() for passage in page.passages])) as opened:
        yield opened


@pytest.mark.parametrize(
    ("question", "url"),
    [
        ("Why was my ZIP partial?", "/docs/guide/faq#why-was-my-zip-partial"),
        ("why is an image missing", "/docs/guide/errors#why-an-image-is-missing"),
        ("What does a download cost?", "/docs/guide/faq#what-does-a-download-cost"),
        ("what is no_credit", "/docs/guide/faq#what-happens-when-the-account-has-no-credit-left"),
        ("Which files can I upload?", "/docs/guide/faq#which-files-can-i-upload"),
        ("how do I resume a download with curl", "/docs/guide/recipes#curl-download-and-resume"),
        ("BREAKER_RESET", "/docs/guide/settings#settings"),
        ("how does it work", "/docs/guide/architecture"),
    ],
)
def test_a_question_finds_its_passage(index: Index, question: str, url: str) -> None:
    """Among the three passages shown is the one that a person would point to."""
    assert any(passage.url.startswith(url) for passage in index.search(question))


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("how do I resume a broken download?", "How do I resume a broken download?"),
        ("my download stopped halfway, how do I continue?", "How do I resume a broken download?"),
        ("what does it cost?", "What does a download cost?"),
        ("do I pay twice for the same photo?", "What does a download cost?"),
        ("how do I get a full size photo", "How do I get full-size photos?"),
        ("how do I get png files?", "How do I choose the format (JPEG, PNG, WebP) and the quality?"),
        ("how long are ZIPs kept?", "How long are photos and ZIPs kept?"),
        ("why is a photo missing?", "Why is a photo missing?"),
        ("Why are photos missing from my ZIP?", "Why is a photo missing?"),
        ("how do I upload photos?", "How do I upload photos?"),
        ("how do I create an order?", "How do I create an order?"),
        ("what file types can I upload?", "Which files can I upload?"),
        ("where do I find the order id?", "Where do I find the order id?"),
        ("where do I get the admin token?", "Where do I get an API key or the admin token?"),
        ("how do I download only one image?", "How do I download only some images, or one?"),
        ("how do I get notified when the zip is done?", "How do I get notified when a ZIP is ready?"),
        ("can I cancel a job?", "How do I cancel a job?"),
        ("how do I wait for photos still processing?", "What does not_ready mean?"),
        ("what happens when autoenhance is down?", "What happens when Autoenhance is down?"),
        ("how big can an order be?", "How large may an order be?"),
        ("what is dev mode?", "What is test mode?"),
    ],
)
def test_a_likely_question_is_answered_by_the_first_passage(index: Index, question: str, title: str) -> None:
    """Whoever asks in everyday words reads no further than the first of the three."""
    first, *_ = index.search(question)

    assert first.title == f"Questions: {title}"


@pytest.mark.parametrize("question", ["What is the capital of France?", "", "???", "the of and", "Ω ☃ 北京"])
def test_what_the_docs_do_not_know_finds_nothing(index: Index, question: str) -> None:
    """No passage at all is better than a wrong one."""
    assert index.search(question) == []


def test_every_passage_is_found_by_its_own_words(index: Index) -> None:
    """Who asks in the words of a passage gets it."""
    passages = [passage for page in library.pages().values() for passage in page.passages if not passage.is_row]

    missed = [
        one.url for one in passages if one.url not in {hit.url for hit in index.search(f"{one.title} {one.text}")}
    ]

    assert missed == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many images have you processed?", "1,234 images downloaded from Autoenhance"),
        ("how many photos failed", "1 image failed"),
        ("number of orders", "3 orders processed"),
        ("How many ZIPs?", "5 ZIPs delivered"),
        ("stats please", "3 orders processed, 1,234 images"),
        ("How long have you been running?", "2 hours"),
        ("uptime", "2 hours"),
    ],
)
def test_a_question_about_counters_gets_them(question: str, answer: str) -> None:
    """With the numbers of now."""
    assert answer in (live_answer(question, STATS) or "")


@pytest.mark.parametrize(
    "question",
    ["How many images may an order have?", "What is the limit on the number of images?", "Why was my ZIP partial?"],
)
def test_a_question_about_a_rule_gets_no_counters(question: str) -> None:
    """A number that was not asked for would mislead."""
    assert live_answer(question, STATS) is None
