"""Errors nobody expected, sent to Sentry.

Whatever is logged with a traceback is reported: there is no second way to say that something went wrong.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeAlias

import sentry_sdk
import structlog
from opentelemetry.sdk.trace import SpanProcessor
from sentry_sdk.integrations.opentelemetry import SentrySpanProcessor
from sentry_sdk.utils import event_from_exception

from service import __version__
from service.settings import Settings
from service.telemetry.scrub import Scrubber

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_LAST_SECONDS = 2.0
# The reporters themselves: a report about a report that failed would go the same way.
_OURS = ("sentry_sdk", "opentelemetry", "urllib3")
_TAGS = ("request_id", "route", "method", "code")


@asynccontextmanager
async def report_errors(settings: Settings, dsn: str) -> AsyncIterator[SpanProcessor]:
    """Report for the length of the block. Gives what takes spans there too, a share of them."""
    scrub = Scrubber(settings.secrets())

    def scrubbed(event: Any, hint: object) -> Any:
        return scrub.document(event)

    def begin() -> SpanProcessor:
        sentry_sdk.init(
            dsn,
            environment=settings.sentry_env,
            release=f"autoenhance-batch@{__version__}",
            traces_sample_rate=settings.sentry_traces_sample_rate,
            instrumenter="otel",
            # Nothing is patched, and nothing collected but what is captured here.
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            before_send=scrubbed,
            before_send_transaction=scrubbed,
        )
        return SentrySpanProcessor()

    spans = await asyncio.to_thread(begin)
    reporter = _Reporter(logging.ERROR)
    logging.getLogger().addHandler(reporter)
    try:
        yield spans
    finally:
        logging.getLogger().removeHandler(reporter)
        client = sentry_sdk.get_client()
        last = threading.Thread(target=client.close, args=(_LAST_SECONDS,), name="last errors", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, _LAST_SECONDS + 1)


class _Reporter(logging.Handler):
    """Makes an event of every record with a traceback, ours and the libraries'."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(record.msg) if isinstance(record.msg, dict) else {"event": record.getMessage()}
        error = _error(fields.pop("exc_info", None) or record.exc_info)
        if error is None or record.name.startswith(_OURS):
            return
        fields = {**structlog.contextvars.get_contextvars(), **fields}
        event, hint = event_from_exception(error, client_options=sentry_sdk.get_client().options)
        event["logger"] = record.name
        event["tags"] = {name: str(fields[name]) for name in _TAGS if name in fields}
        event["extra"] = {name: value for name, value in fields.items() if not name.startswith("_")}
        if "path" in fields:
            event["request"] = {"method": str(fields.get("method")), "url": str(fields["path"])}
        sentry_sdk.capture_event(event, hint)


def _error(exc_info: object) -> ExcInfo | None:
    """What `exc_info` may be in a record: an exception, a triple, or true for the current exception."""
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    found: Any = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else None
    return found if found and found[0] is not None else None
