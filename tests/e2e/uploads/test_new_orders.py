"""Making an order from uploaded files: `POST /v1/orders`, in front of a real sandbox."""

from http import HTTPStatus
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from prometheus_client.parser import text_string_to_metric_families

from service import samples
from service.api.order_form import LARGEST_FILE
from service.sandbox import Sandbox
from tests.e2e.uploads.orders import TOKEN, form, make, stored
from tests.support.client import Service, StartService
from tests.support.samples import jpeg, png, webp


async def test_uploaded_files_become_an_order_that_can_be_downloaded(service: Service, sandbox: Sandbox) -> None:
    """Files of all three kinds arrive whole under their names, and the answer links to their ZIP."""
    files = {"kitchen.JPEG": jpeg(), "bath.png": png(), "hall.webp": webp()}

    made = await make(service, form(*files.items(), name=" 12 Harbour  Lane "))

    assert made.status == HTTPStatus.CREATED
    assert made.outcomes == {"kitchen.jpg": "uploaded", "bath.png": "uploaded", "hall.webp": "uploaded"}
    assert (made.document["total"], made.document["uploaded"], made.document["failed"]) == (3, 3, 0)
    assert made.headers["Location"] == made.document["links"]["overview"]
    order = sandbox.control.order(made.document["order_id"])
    assert order.name == "12 Harbour Lane"
    assert [stored(image.source) for image in order.images] == list(files.values())
    overview = await service.ask(made.document["links"]["overview"])
    assert overview.status == HTTPStatus.OK


async def test_the_first_generation_s_path_does_the_same(service: Service) -> None:
    """`/api/create-order` is the same route."""
    made = await make(service, form(("a.jpg", jpeg())), path="/api/create-order")

    assert made.status == HTTPStatus.CREATED


@pytest.mark.parametrize("path", ["/v1/orders/sample", "/api/create-sample-order"])
async def test_the_sample_photos_become_an_order(
    service: Service, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """One request without a body; the photos stay where they are, and no two orders have the same file names."""
    photos = {f"{room}.jpg": jpeg(number) for number, room in enumerate(["bath", "garden", "hall", "kitchen"])}
    for name, content in photos.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(samples, "PHOTOS", tmp_path)

    made, another = [await make(service, None, path=path) for _ in range(2)]

    assert made.status == HTTPStatus.CREATED
    assert list(made.outcomes.values()) == ["uploaded"] * 4
    assert [name.partition("_")[0] for name in made.outcomes] == ["bath", "garden", "hall", "kitchen"]
    assert not made.outcomes.keys() & another.outcomes.keys()
    order = sandbox.control.order(made.document["order_id"])
    assert [stored(image.source) for image in order.images] == list(photos.values())
    assert all((tmp_path / name).exists() for name in photos)


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/orders/sample"])
async def test_only_administrators_make_orders(service: Service, sandbox: Sandbox, path: str) -> None:
    """Without the token, or with a wrong one, it is a 403, and Autoenhance is not called."""
    for headers in ({}, {"X-Admin-Token": "wrong"}):
        made = await make(service, form(("a.jpg", jpeg())), headers=headers, path=path)
        assert made.status == HTTPStatus.FORBIDDEN

    assert not sandbox.control.log


async def test_storage_never_sees_the_key(service: Service, sandbox: Sandbox) -> None:
    """The signed address is all that storage gets, with a length and the type that was signed."""
    await make(service, form(("a.jpg", jpeg())))

    (upload,) = [one for one in sandbox.control.log if one.operation == "upload"]
    assert "x-api-key" not in upload.headers
    assert upload.headers["content-type"] == "application/octet-stream"
    assert upload.status == HTTPStatus.OK


async def test_the_older_name_of_the_upload_address_works_too(sandbox: Sandbox, start_service: StartService) -> None:
    """Accounts on an older API version answer with `s3PutObjectUrl`, and sign the type of the registration."""
    service = await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        autoenhance_api_version="2025-01-01",
        admin_token=TOKEN,
    )

    made = await make(service, form(("a.jpg", jpeg())))

    assert made.outcomes == {"a.jpg": "uploaded"}


async def test_what_is_no_image_is_never_announced(service: Service, sandbox: Sandbox) -> None:
    """A partial upload is told plainly; the bad files are in no order."""
    files = [("notes.txt", b"buy milk, and then some more milk"), ("a.jpg", jpeg()), ("empty.jpg", b"")]

    made = await make(service, form(*files))

    assert made.status == HTTPStatus.CREATED
    assert made.outcomes == {"notes.txt": "not_an_image", "a.jpg": "uploaded", "empty.jpg": "not_an_image"}
    assert made.document["failed"] == 2
    assert made.document["files"][0]["reason"]
    assert sandbox.control.counters.requests["create_image"] == 1


@pytest.mark.parametrize(
    ("name", "content", "status", "code"),
    [
        ("notes.txt", b"only text", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not_an_image"),
        ("large.jpg", jpeg(size=LARGEST_FILE + 1), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "file_too_large"),
    ],
)
async def test_nothing_to_upload_makes_no_order(
    service: Service, sandbox: Sandbox, name: str, content: bytes, status: int, code: str
) -> None:
    """Where no file can be used, the problem says why, and no empty order is left behind."""
    made = await make(service, form((name, content)))

    assert (made.status, made.document["code"]) == (status, code)
    assert list(made.outcomes.values()) == [code]
    assert not sandbox.control.log


async def test_a_file_of_the_largest_size_passes(service: Service) -> None:
    """Exactly 20 MB are allowed."""
    made = await make(service, form(("large.jpg", jpeg(size=LARGEST_FILE))))

    assert made.outcomes == {"large.jpg": "uploaded"}


async def test_a_full_order_takes_no_more_files(service: Service) -> None:
    """Past `MAX_IMAGES_PER_ORDER` files are refused one by one, and the others arrive."""
    made = await make(service, form(*[(f"{number}.jpg", jpeg(number)) for number in range(8)]))

    assert made.document["uploaded"] == 6
    assert list(made.outcomes.values())[6:] == ["too_many_files", "too_many_files"]


async def test_a_failing_upload_is_repeated_and_a_failing_post_is_not(service: Service, sandbox: Sandbox) -> None:
    """A PUT may be sent again; a POST that failed may have worked, so it is not."""
    sandbox.control.add_fault("status", operation="upload", times=2, status=503)
    sandbox.control.add_fault("status", operation="create_image", skip=1, status=500)

    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg(2))))

    assert sorted(made.outcomes.values()) == ["uploaded", "upstream_error"]
    assert sandbox.control.counters.requests["create_image"] == 2
    assert sandbox.control.counters.requests["upload"] == 3


async def test_a_post_that_was_turned_away_is_sent_again(service: Service, sandbox: Sandbox) -> None:
    """429 says that nothing was done: the same order is asked for once more, after the wait."""
    sandbox.control.add_fault("status", operation="create_order", status=429)

    made = await make(service, form(("a.jpg", jpeg())))

    assert made.status == HTTPStatus.CREATED
    assert len(sandbox.control.state.orders) == 1


@pytest.mark.parametrize("retry_after", [None, 3600])
async def test_a_file_name_used_too_often_is_told_as_such(
    service: Service, sandbox: Sandbox, retry_after: float | None
) -> None:
    """Autoenhance takes one name so often an hour: the next step is another name or hour, not the next minute."""
    sandbox.control.configure(same_name_per_hour=1, limit_retry_after=retry_after)

    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg(2))))
    again = await make(service, form(("a.jpg", jpeg(3)), ("c.jpg", jpeg(4))))

    assert made.outcomes == {"a.jpg": "uploaded", "b.jpg": "uploaded"}
    assert again.outcomes == {"a.jpg": "file_name_limit", "c.jpg": "uploaded"}
    advice = again.document["files"][0]["reason"]
    assert "file name" in advice
    assert "hour" in advice
    assert "minute" not in advice


async def test_storage_that_is_too_busy_is_no_matter_of_the_name(service: Service, sandbox: Sandbox) -> None:
    """A 429 of the upload itself passes by waiting."""
    sandbox.control.add_fault("status", operation="upload", times=None, status=429)

    made = await make(service, form(("a.jpg", jpeg())))

    assert made.outcomes == {"a.jpg": "rate_limited"}


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [(401, 401, "upstream_unauthorized"), (500, 502, "upstream_error"), (404, 502, "upstream_error")],
)
async def test_an_order_that_cannot_be_made_is_a_problem(
    service: Service, sandbox: Sandbox, status: int, answer: int, code: str
) -> None:
    """What Autoenhance says to the first call decides, in our words."""
    sandbox.control.add_fault("status", operation="create_order", status=status, body="their own words")

    made = await make(service, form(("a.jpg", jpeg())))

    assert (made.status, made.document["code"]) == (answer, code)
    assert "their own words" not in str(made.document)


async def test_files_that_were_all_refused_are_listed(service: Service, sandbox: Sandbox) -> None:
    """The order exists, so the problem names it, and says file by file what happened."""
    sandbox.control.add_fault("status", operation="upload", times=None, status=403)

    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg(2))))

    assert (made.status, made.document["code"]) == (422, "nothing_uploaded")
    assert made.outcomes == {"a.jpg": "refused", "b.jpg": "refused"}
    assert made.document["order_id"] in sandbox.control.state.orders


async def test_broken_storage_opens_its_circuit(sandbox: Sandbox, start_service: StartService) -> None:
    """Uploads count for the breaker as other calls do; while it is open no order is made, and the answer says so."""
    service = await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        breaker_failures=1,
        upstream_attempts=1,
    )
    sandbox.control.add_fault("status", operation="upload", times=None, status=500)
    await make(service, form(("a.jpg", jpeg())))

    made = await make(service, form(("b.jpg", jpeg())))

    assert (made.status, made.document["code"]) == (503, "breaker_open")
    assert [sandbox.control.counters.requests[call] for call in ("create_order", "upload")] == [1, 1]


async def test_each_call_is_counted(service: Service, loop_guard: BlockBuster) -> None:
    """The three calls appear in the metrics under their own names."""
    await make(service, form(("a.jpg", jpeg())))

    loop_guard.deactivate()  # prometheus-client reads /proc where it is asked
    text = (await service.ask("/metrics")).body.decode()
    calls = {
        sample.labels["operation"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "batch_upstream_requests_total" and sample.labels["status"] == "200"
    }
    assert calls == {"create_order": 1, "register_image": 1, "upload": 1}
