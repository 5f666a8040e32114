"""`sandbox`: a stand-in for the Autoenhance API, until it is stopped."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from service.commands.refusal import refuse, why_not_listening
from service.sandbox import SAMPLE_ORDER_ID, Sandbox, SandboxConfig, serve_sandbox


def sandbox(host: str, port: int, asset_port: int, public_host: str | None, behaviour: Mapping[str, str]) -> int:
    """Run a sandbox on these ports, with a sample order in it; other machines reach it as `public_host`.

    `behaviour` has fields of `SandboxConfig` as text.
    """
    try:
        config = replace(SandboxConfig.from_text(behaviour), host=host, port=port, asset_port=asset_port)
    except ValueError as error:
        return refuse(f"--set: {error}", code=2)
    if public_host is not None:
        config = replace(config, public_host=public_host, asset_host=public_host, storage_host=public_host)
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(_serve(config))
    except OSError as error:
        ports = f"{port} or {asset_port}"
        return refuse(why_not_listening(error, host, ports, "--port and --asset-port") or error)
    return 0


async def _serve(config: SandboxConfig) -> None:
    serving = asyncio.ensure_future(serve_sandbox(config, ready=_announce))
    # As SIGINT does. Without a handler the first process of a container would ignore it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    await serving


def _announce(running: Sandbox) -> None:
    command = _program()
    if find_spec("PIL") is None:
        print("Pillow is not installed (the extra: sandbox). Every photo comes as it was uploaded, whatever its")
        print("rendition; `make demo` installs it.\n")
    print("The sandbox is running. Start the service in front of it:\n")
    settings = f"AUTOENHANCE_API_BASE={running.api_base} AUTOENHANCE_API_KEY={running.api_key} RATE_LIMIT=off"
    print(f"  {settings} {command} serve\n")
    print(f"Then download the sample order:\n\n  {command} download {SAMPLE_ORDER_ID}", flush=True)


def _program() -> str:
    """How to run this program: as this process was run."""
    if Path(sys.argv[0]).name != "__main__.py":
        return "autoenhance-batch"
    return f"{os.path.relpath(sys.executable)} -m service"
