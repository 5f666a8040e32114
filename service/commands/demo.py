"""`demo`: a sandbox, the service in front of it, a sample order, and its ZIP."""

import asyncio
import secrets
import tempfile
import zipfile
from pathlib import Path

from aiohttp import ClientError, ClientSession
from pydantic import SecretStr
from rich.console import Console

from service.api.connections import listening
from service.app import create_app
from service.commands.client import Interrupted, Refused, Service
from service.commands.display import Display
from service.commands.fetching import fetch
from service.commands.output import Output
from service.commands.partial import Partial
from service.commands.refusal import refuse
from service.commands.request import Request
from service.commands.serve import stop_signal
from service.commands.talk import ALL, BROKEN, Talk
from service.sandbox import Sandbox, SandboxConfig
from service.settings import Settings
from service.telemetry.logs import configure_logs

_DRAIN_SECONDS = 5.0


def demo(folder: Path, *, keep: bool) -> int:
    """Run the demo; its ZIP stays in `folder`. `keep`: the page stays open until it is stopped."""
    configure_logs("console", "WARNING")
    console = Console()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return refuse(f"{folder}: {error.strerror}. Choose another folder for the ZIP with --output.")
    try:
        asyncio.run(_run(folder, console, keep=keep))
    except (Refused, Interrupted, ClientError, OSError) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return BROKEN
    return ALL


def _show(target: Path, console: Console) -> None:
    console.print(f"\nThe ZIP is at [bold]{target}[/bold]:", soft_wrap=True)
    with zipfile.ZipFile(target) as archive:
        for member in archive.infolist():
            console.print(f"  {member.file_size:>9,} bytes  {member.filename}", highlight=False, markup=False)
        console.print(f"  ({archive.comment.decode()})", highlight=False, markup=False)


async def _run(folder: Path, console: Console, *, keep: bool) -> None:
    admin_token = secrets.token_urlsafe()
    with tempfile.TemporaryDirectory(prefix="autoenhance-batch-") as data_dir:
        async with Sandbox(SandboxConfig(image_delay=1.0)) as sandbox:
            console.print(f"1. A sandbox stands in for Autoenhance: {sandbox.api_base}")
            settings = Settings(
                _env_file=None,
                autoenhance_api_base=sandbox.api_base,
                autoenhance_api_key=SecretStr(sandbox.api_key),
                data_dir=Path(data_dir),
                service_api_key=(),
                admin_token=SecretStr(admin_token),
                rate_limit=None,
            )
            async with listening(create_app(settings), "127.0.0.1", 0, drain_seconds=_DRAIN_SECONDS) as (url,):
                console.print(f"2. The service runs in front of it: {url}")
                order_id = await _create_sample_order(url, admin_token)
                console.print(f"3. A sample order was created: {order_id}")
                console.print("4. One request, one ZIP; it waits for images that are still being enhanced:")
                request = Request(Service(url), order_id, {"wait": True})
                console.print(f"   GET {request.url}\n", soft_wrap=True, highlight=False)
                target = folder / "sample-order.zip"
                part = Partial(target.with_name(target.name + ".part"), request.identity)
                with Display(console, visible=console.is_terminal) as display:
                    fetched = await fetch(request, part, display, Talk(console))
                await asyncio.to_thread(part.deliver, Output(str(target)), fetched.name)
                await asyncio.to_thread(_show, target, console)
                if keep:
                    stop = stop_signal()
                    console.print(f"\nThe page is open at [bold]{url}/?order={order_id}[/bold]", soft_wrap=True)
                    console.print("Its ZIP once more, by another program:")
                    console.print(
                        f"  curl --fail-with-body -o house.zip {url}/v1/orders/{order_id}/images", soft_wrap=True
                    )
                    console.print(f"Administrators sign in there with: {admin_token}", highlight=False, soft_wrap=True)
                    console.print("Ctrl-C ends it.")
                    await stop.wait()


async def _create_sample_order(url: str, admin_token: str) -> str:
    """An order of the bundled photos, as the page creates it; returns its id."""
    async with (
        ClientSession(headers={"X-Admin-Token": admin_token}, raise_for_status=True) as session,
        session.post(f"{url}/v1/orders/sample") as response,
    ):
        order_id: str = (await response.json())["order_id"]
        return order_id
