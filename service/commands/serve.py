"""`serve`: the service, until it is stopped."""

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from yarl import URL

from service import __version__
from service.api.connections import CannotListen, listening
from service.app import create_app
from service.commands.refusal import refuse, why_not_listening
from service.database import DataDirUnusable
from service.settings import GIB, InvalidSettings, Settings
from service.telemetry.logs import configure_logs, get_logger
from service.telemetry.scrub import Scrubber

log = get_logger(__name__)

# Seconds that downloads in flight get at a stop; aiohttp grants them twice before it cuts.
DRAIN_SECONDS = 25.0


def serve(overrides: Mapping[str, object]) -> int:
    """Run the service; `overrides` are settings from the command line."""
    try:
        settings = Settings.load(**overrides)
    except InvalidSettings as error:
        return refuse(error, code=2)
    configure_logs(settings.log_format, settings.log_level, Scrubber(settings.secrets()))
    try:
        asyncio.run(_serve(settings))
    except InvalidSettings as error:
        return refuse(error, code=2)
    except CannotListen as error:
        cause = error.__cause__
        reason = isinstance(cause, OSError) and why_not_listening(
            cause, settings.host, str(settings.port), "PORT or --port"
        )
        return refuse(f"HOST, PORT: {reason or error}")
    except DataDirUnusable as error:
        return refuse(f"DATA_DIR: {error}")
    return 0


async def _serve(settings: Settings) -> None:
    stop = _stop_signal()
    async with listening(create_app(settings), settings.host, settings.port, drain_seconds=DRAIN_SECONDS) as urls:
        for url in urls:
            log.info("listening", url=url)
        summary = start_summary(settings)
        if settings.log_format == "json":
            log.info("configuration", summary=summary)
        else:
            print(*summary, sep="\n", file=sys.stderr, flush=True)
        if settings.autoenhance_api_key is None:
            log.warning("AUTOENHANCE_API_KEY is not set: downloads are answered with 503")
        await stop.wait()
        log.info("stopping: downloads in flight may finish; a second signal stops at once", seconds=DRAIN_SECONDS)


def start_summary(settings: Settings) -> list[str]:
    """The configuration in force, a line each, without a secret: version, upstream, data, who may call, what is on."""
    version = settings.autoenhance_api_version
    budget = settings.store_max_bytes
    facts = {
        "Autoenhance": f"{_without_password(settings.autoenhance_api_base)}, "
        + (f"API version {version}" if version else "the account's own API version")
        + ("" if settings.autoenhance_api_key else "; AUTOENHANCE_API_KEY is not set"),
        "Data": f"{settings.data_dir.absolute()}, at most "
        + (f"{budget / GIB:.1f} GiB of images" if budget else "half of the free space, or 20 GiB, of images"),
        "Callers": _callers(settings),
        "Administrators": "with ADMIN_TOKEN" if settings.admin_token else "none; ADMIN_TOKEN is not set",
        "Limits": f"{settings.rate_limit or 'no limit'} per caller, {settings.download_concurrency} downloads from"
        f" Autoenhance at once, {settings.max_images_per_order} images per archive",
        "Also on": ", ".join(_also_on(settings)) or "nothing",
    }
    width = max(map(len, facts))
    return [f"autoenhance-batch {__version__}", *(f"  {name:<{width}}  {fact}" for name, fact in facts.items())]


def _callers(settings: Settings) -> str:
    keys = len(settings.service_api_key)
    if keys:
        return f"with {'an API key' if keys == 1 else f'one of {keys} API keys'} (SERVICE_API_KEY)"
    if _is_loopback(settings.host):
        return "anyone on this machine; SERVICE_API_KEY is not set"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"WARNING: anyone who can reach {host}:{settings.port}; SERVICE_API_KEY is not set"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _also_on(settings: Settings) -> Sequence[str]:
    """The optional parts that the settings turn on."""
    parts = {
        f"sharing by Redis and S3 (role {settings.role})": settings.shared_url is not None,
        "images in S3": settings.shared_url is None and settings.store_url is not None,
        "webhook from Autoenhance": settings.autoenhance_webhook_secret is not None,
        "automatic batches": settings.auto_batch,
        "signed callbacks": bool(settings.callback_secret),
        "callbacks to private addresses": settings.callback_allow_private,
        f"cross-origin calls from {', '.join(settings.allowed_origins)}": bool(settings.allowed_origins),
        "chat server of the help box": settings.assistant_base_url is not None,
        "tracing": settings.traces_endpoint is not None,
        "Sentry": settings.sentry_dsn is not None,
    }
    return [part for part, is_on in parts.items() if is_on]


def _without_password(url: str) -> str:
    return str(URL(url).with_user(None))


def _stop_signal() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in signals:
        loop.add_signal_handler(number, on_signal)
    return stop
