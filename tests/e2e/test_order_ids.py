"""An order id that is no UUID goes nowhere."""

from urllib.parse import quote

import pytest

from tests.support.client import Service
from tests.support.samples import ORDER
from tests.support.upstream import FakeUpstream

MALFORMED = [
    "x",
    "123",
    "not-a-uuid",
    ORDER + "\n",
    "\n" + ORDER,
    ORDER + " ",
    ORDER[:-1],
    ORDER + "0",
    ORDER.replace("b", "g", 1),
    ORDER + "/../" + ORDER,
    "../../etc/passwd",
    "..",
    "'; DROP TABLE orders; --",
    '"><script>alert(1)</script>',
    "%2e%2e%2f",
    "\x00",
    "${jndi:ldap://x}",
    "\u0660" * 36,
    "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be\uff10\uff10\uff11",
    "家" * 12,
    "a" * 4_000,
]


@pytest.mark.parametrize("order_id", MALFORMED, ids=lambda value: ascii(value)[:24])
async def test_a_malformed_order_id_is_refused_before_any_upstream_call(
    upstream: FakeUpstream, service: Service, order_id: str
) -> None:
    """400 with a problem document, and upstream hears nothing."""
    segment = quote(order_id, safe="").replace("..", "%2e%2e")

    answer = await service.ask(f"/v1/orders/{segment}/images")

    assert (answer.status, answer.problem["code"]) == (400, "invalid_order_id")
    assert upstream.received == []


async def test_a_refused_order_id_is_not_echoed_as_markup(service: Service) -> None:
    """Whatever the answer says about the id, no browser can take it for HTML."""
    answer = await service.ask("/v1/orders/%3Cscript%3Ealert(1)%3C%2Fscript%3E/images")

    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", [f"/v1/orders/../../{ORDER}/images", "/v1/orders//images", "/v1/orders/../../../etc/passwd"]
)
async def test_a_path_with_steps_upwards_reaches_nothing(upstream: FakeUpstream, service: Service, path: str) -> None:
    """Dots sent as they are, unlike any tidy client would, match no route."""
    answer = await service.raw(f"GET {path} HTTP/1.1\nHost: x\nConnection: close\n\n")

    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert upstream.received == []


async def test_a_uuid_in_capitals_is_accepted(upstream: FakeUpstream, service: Service) -> None:
    """A UUID is one whatever its case: this one is simply not known upstream."""
    answer = await service.download(ORDER.upper())

    assert answer.problem["code"] == "order_not_found"
    assert len(upstream.received) == 1
