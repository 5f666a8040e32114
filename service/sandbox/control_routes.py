"""The control routes under `/_sandbox`: what tests in other processes and the demo steer the sandbox with."""

from dataclasses import asdict
from typing import Any

from aiohttp import web

from .context import api_version
from .control import Control, ImageSpec
from .documents import order_document
from .errors import ApiError
from .faults import Fault
from .validation import read_json

CONTROL = web.AppKey("CONTROL", Control)


def routes() -> list[web.RouteDef]:
    return [
        web.post("/_sandbox/orders", add_order),
        web.patch("/_sandbox/images/{image_id}", change_image),
        web.post("/_sandbox/faults", add_fault),
        web.get("/_sandbox/faults", list_faults),
        web.delete("/_sandbox/faults", clear_faults),
        web.get("/_sandbox/log", read_log),
        web.delete("/_sandbox/log", reset_log),
        web.post("/_sandbox/reset", reset_log),
        web.put("/_sandbox/credits", set_credits),
        web.get("/_sandbox/config", read_config),
        web.patch("/_sandbox/config", configure),
        web.post("/_sandbox/clock", advance),
    ]


async def add_order(request: web.Request) -> web.Response:
    """`{"name"?, "order_id"?, "images": [ImageSpec], "sample"?: bool}`; answers the order document."""
    control = request.app[CONTROL]
    document = await read_json(request)
    try:
        if document.get("sample"):
            order = control.add_sample_order()
        else:
            specs = [ImageSpec.from_json(item) for item in document.get("images", [])]
            order = control.add_order(specs, name=document.get("name"), order_id=document.get("order_id"))
    except (TypeError, ValueError) as error:
        raise ApiError(400, str(error)) from error
    return web.json_response(order_document(control.state, order, api_version(request)), status=201)


async def change_image(request: web.Request) -> web.Response:
    """`{"status", "reason"?}`"""
    document = await read_json(request)
    try:
        request.app[CONTROL].set_status(
            request.match_info["image_id"], str(document.get("status")), document.get("reason")
        )
    except KeyError:
        raise ApiError(404, "Image not found") from None
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    return web.Response(status=204)


async def add_fault(request: web.Request) -> web.Response:
    """`{"kind", "match"?: {"image_id", "order_id", "operation"}, "times"?, ...}`; answers it with its id."""
    document = await read_json(request)
    try:
        fault = request.app[CONTROL].script(Fault.from_json(document))
    except (TypeError, ValueError) as error:
        raise ApiError(400, str(error)) from error
    return web.json_response(fault.as_json(), status=201)


async def list_faults(request: web.Request) -> web.Response:
    return web.json_response({"faults": [fault.as_json() for fault in request.app[CONTROL].faults]})


async def clear_faults(request: web.Request) -> web.Response:
    """All of them, or the one with `?fault_id=`."""
    control, wanted = request.app[CONTROL], request.query.get("fault_id")
    if wanted is None:
        control.clear_faults()
    elif not wanted.isdecimal() or not control.remove_fault(int(wanted)):
        raise ApiError(404, "Fault not found")
    return web.Response(status=204)


async def read_log(request: web.Request) -> web.Response:
    """`{"requests": [Served], "counters": {...}, "credits": int}`"""
    control = request.app[CONTROL]
    return web.json_response(
        {
            "requests": [asdict(entry) for entry in control.log],
            "counters": control.counters.as_json(),
            "credits": control.credits,
        }
    )


async def reset_log(request: web.Request) -> web.Response:
    request.app[CONTROL].reset_log()
    return web.Response(status=204)


async def set_credits(request: web.Request) -> web.Response:
    """`{"credits": int}`"""
    number = (await read_json(request)).get("credits")
    if not isinstance(number, int):
        raise ApiError(400, "credits must be a number")
    request.app[CONTROL].set_credits(number)
    return web.json_response({"credits": number})


async def read_config(request: web.Request) -> web.Response:
    return web.json_response(_config_document(request.app[CONTROL]))


async def configure(request: web.Request) -> web.Response:
    """Any fields of SandboxConfig but the addresses."""
    control = request.app[CONTROL]
    try:
        control.configure(**await read_json(request))
    except (TypeError, ValueError) as error:
        raise ApiError(400, str(error)) from error
    return web.json_response(_config_document(control))


async def advance(request: web.Request) -> web.Response:
    """`{"advance": seconds}`"""
    seconds = (await read_json(request)).get("advance")
    if not isinstance(seconds, int | float):
        raise ApiError(400, "advance must be a number of seconds")
    request.app[CONTROL].advance(seconds)
    return web.Response(status=204)


def _config_document(control: Control) -> dict[str, Any]:
    return {**asdict(control.config), "photos": str(control.config.photos)}
