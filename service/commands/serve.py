"""`serve`: the service, until it is stopped."""

import sqlite3
import sys
from collections.abc import Mapping

from aiohttp import web

from service.app import create_app
from service.database import DataDirInUse
from service.settings import InvalidSettings, Settings
from service.telemetry.logs import configure_logs, get_logger

# A stop lets downloads in flight go on for so long; aiohttp grants it twice before it cuts them.
_DRAIN_SECONDS = 25.0


def serve(overrides: Mapping[str, object]) -> int:
    """Run the service; `overrides` are settings from the command line."""
    try:
        settings = Settings.load(**overrides)
    except InvalidSettings as error:
        print(f"autoenhance-batch: {error}", file=sys.stderr)
        return 2
    configure_logs(settings.log_format, settings.log_level)
    log = get_logger(__name__)
    if settings.autoenhance_api_key is None:
        log.warning("AUTOENHANCE_API_KEY is not set: downloads are answered with 503")
    try:
        web.run_app(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            handler_cancellation=True,
            shutdown_timeout=_DRAIN_SECONDS,
            access_log=None,
            print=lambda words: log.info("listening", address=words.splitlines()[0].strip("= ")),
        )
    except (DataDirInUse, OSError, sqlite3.Error) as error:
        print(f"autoenhance-batch: {error}", file=sys.stderr)
        return 1
    return 0
