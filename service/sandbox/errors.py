"""The error documents of the API, and the XML ones of the storage."""

from collections.abc import Mapping
from http import HTTPStatus
from xml.sax.saxutils import escape

from aiohttp import web


class ApiError(Exception):
    """An answer of the API other than success; `detail` is the document's second member."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        detail: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message or HTTPStatus(status).phrase)
        self.status = status
        self.message = message or HTTPStatus(status).phrase
        self.detail = dict(detail or {})
        self.headers = headers

    def response(self) -> web.Response:
        document = {"message": self.message, "detail": self.detail}
        return web.json_response(document, status=self.status, headers=self.headers)


class InvalidInput(ApiError):
    """A 422 that names each wrong field; `location` is `json` or `query`."""

    def __init__(self, location: str, fields: Mapping[str, str]):
        detail = {location: {name: [message] for name, message in fields.items()}}
        super().__init__(422, "Validation error", detail)


class StorageError(ApiError):
    """A refusal of the storage, in XML."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, message, headers=headers)
        self.code = code

    def response(self) -> web.Response:
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error>"
        )
        return web.Response(status=self.status, text=text, headers=self.headers, content_type="application/xml")
