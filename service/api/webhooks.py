"""Autoenhance tells that images are done: `POST /v1/webhooks/autoenhance`."""

import json
import re
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from service.api.bodies import read_body
from service.api.documents import Document, answer
from service.api.guesses import GUESSES
from service.api.keys import SETTINGS, WEBHOOK_EVENTS
from service.api.route import Answer, Body, Parameter, Route, Who
from service.order_ids import is_order_id
from service.problems import BadRequest, NotFound, WebhookUnauthorized
from service.telemetry.logs import get_logger

log = get_logger(__name__)

_BEARER = re.compile(r"bearer +", re.IGNORECASE)
_KNOWN = frozenset({"image_processed", "image_registered"})


class WebhookEvent(BaseModel):
    """What Autoenhance tells. What nobody here knows is welcome too."""

    model_config = ConfigDict(extra="allow")

    event: str


class Taken(Document):
    """That it was heard."""

    status: Literal["ok"] = "ok"


async def autoenhance(request: web.Request) -> web.Response:
    """Take one event. Answered soon, and the same for a repeated one; events nobody knows are welcome too."""
    await _require_secret(request)
    event = await _read(request)
    name, order_id = event.get("event"), event.get("order_id")
    log.info("webhook", event_name=str(name)[:64], order_id=order_id if is_order_id(order_id) else None)
    if name in _KNOWN and order_id is not None:
        if not is_order_id(order_id):
            raise BadRequest("order_id is not a UUID.")
        done = name == "image_processed" and event.get("order_is_processing") is False
        await request.app[WEBHOOK_EVENTS].received(order_id.lower(), done=done)
    return answer(Taken(status="ok"))


async def _require_secret(request: web.Request) -> None:
    """Autoenhance sends what was configured there in `Authentication`; a proxy may have made it `Authorization`."""
    secret = request.app[SETTINGS].autoenhance_webhook_secret
    if secret is None:
        raise NotFound
    given = request.headers.get("Authentication") or request.headers.get("Authorization") or ""
    # The secret itself may begin with the word.
    if await request.app[GUESSES].judge(request, [given, _BEARER.sub("", given, count=1)], [secret]) is None:
        raise WebhookUnauthorized


async def _read(request: web.Request) -> dict[str, object]:
    body = await read_body(request)
    if not body.strip():  # as saving the settings there does at times
        return {}
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        raise BadRequest("The body is not an event.")
    return event


ROUTES = (
    Route(
        "POST",
        "/v1/webhooks/autoenhance",
        autoenhance,
        name="webhook",
        summary="Autoenhance tells that images are done",
        who=Who.WEBHOOK,
        headers=(Parameter("Authentication", "AUTOENHANCE_WEBHOOK_SECRET", "What is configured at Autoenhance."),),
        body=Body(WebhookEvent, {"event": "webhook_updated"}, required=False),
        answers=(Answer(200, "Taken.", Taken),),
        problems=(WebhookUnauthorized, NotFound),
    ),
)
