"""What every answer carries, and how a problem looks as one."""

import json

from aiohttp import web

from service.problems import PROBLEM_JSON, Problem

COMMON_HEADERS = {
    "Server": "autoenhance-batch",  # aiohttp would name its version, and Python's
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def problem_response(problem: Problem, request_id: str, base_path: str) -> web.Response:
    """The problem document, for a caller who reaches the service below `base_path`."""
    return web.Response(
        body=json.dumps(problem.document(request_id, base_path)).encode(),
        status=problem.status,
        headers=problem.headers | {"Cache-Control": "no-store"},
        content_type=PROBLEM_JSON,
    )
