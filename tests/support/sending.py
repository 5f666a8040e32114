"""Requests with JSON bodies."""

from collections.abc import Mapping

from tests.support.client import Answer, Service


async def send(
    service: Service, method: str, path: str, document: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Make a request; `document` is sent as JSON, unless it is None."""
    async with service.session.request(method, service.url + path, json=document, headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())
