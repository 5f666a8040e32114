"""Uploads that the store has no room for."""

from service.sandbox import Sandbox
from tests.e2e.uploads.orders import TOKEN, form, make
from tests.support.client import StartService
from tests.support.samples import jpeg


async def test_the_order_that_was_made_is_named_when_there_is_no_room_for_the_rest(
    sandbox: Sandbox, start_service: StartService
) -> None:
    """Given a first file that is at Autoenhance and a second one that fits nowhere: nobody makes the order twice."""
    service = await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        store_max_bytes=16 << 20,
    )

    made = await make(service, form(("a.jpg", jpeg()), ("b.jpg", jpeg() + bytes(19 << 20))))

    assert (made.status, made.document["code"]) == (503, "store_full")
    assert len(sandbox.control.order(made.document["order_id"]).images) == 1
    assert made.outcomes == {"a.jpg": "uploaded"}
