"""`demo`: a sandbox, the service in front of it, a sample order, and its ZIP."""

import asyncio
import tempfile
import zipfile
from pathlib import Path

from aiohttp import ClientSession
from pydantic import SecretStr
from rich.console import Console

from service.api.connections import listening
from service.app import create_app
from service.commands.display import Display
from service.commands.download import ALL, BROKEN, Interrupted, Refused, Request, fetch
from service.samples import PHOTOS
from service.sandbox import Sandbox, SandboxConfig
from service.settings import Settings
from service.telemetry.logs import configure_logs

_DRAIN_SECONDS = 5.0


def demo(folder: Path) -> int:
    """Run the demo; its ZIP stays in `folder`."""
    configure_logs("console", "WARNING")
    console = Console()
    try:
        target = asyncio.run(_run(folder, console))
    except (Refused, Interrupted, OSError) as error:
        console.print(str(error), style="red", markup=False)
        return BROKEN
    console.print(f"\nThe ZIP is at [bold]{target}[/bold]:", soft_wrap=True)
    with zipfile.ZipFile(target) as archive:
        for member in archive.infolist():
            console.print(f"  {member.file_size:>9,} bytes  {member.filename}", highlight=False, markup=False)
        console.print(f"  ({archive.comment.decode()})", highlight=False, markup=False)
    return ALL


async def _run(folder: Path, console: Console) -> Path:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="autoenhance-batch-") as data_dir:
        async with Sandbox(SandboxConfig(image_delay=1.0)) as sandbox:
            console.print(f"1. A sandbox stands in for Autoenhance: {sandbox.api_base}")
            settings = Settings(
                _env_file=None,
                autoenhance_api_base=sandbox.api_base,
                autoenhance_api_key=SecretStr(sandbox.api_key),
                data_dir=Path(data_dir),
                service_api_key=(),
                rate_limit=None,
            )
            async with listening(create_app(settings), "127.0.0.1", 0, drain_seconds=_DRAIN_SECONDS) as (address,):
                console.print(f"2. The service runs in front of it: {address}")
                order_id = await upload_sample_order(sandbox.api_base, sandbox.api_key)
                console.print(f"3. A sample order was uploaded: {order_id}")
                console.print("4. One request, one ZIP; it waits for images that are still in the making:")
                request = Request(address, order_id, (("wait", "true"),))
                console.print(f"   GET {request.url}\n", soft_wrap=True, highlight=False)
                with Display(console) as display:
                    target, _ = await fetch(request, folder / "sample-order.zip", display)
                return target


async def upload_sample_order(api_base: str, api_key: str) -> str:
    """Create an order from the bundled photos, as a customer of Autoenhance would; returns its id."""
    async with ClientSession(headers={"x-api-key": api_key}, raise_for_status=True) as session:
        async with session.post(f"{api_base}/orders/", json={"name": "Sample: 12 Harbour Lane"}) as response:
            order_id: str = (await response.json())["order_id"]
        for photo in sorted(await asyncio.to_thread(lambda: list(PHOTOS.glob("*.jpg")))):
            registration = {"order_id": order_id, "image_name": photo.name}
            async with session.post(f"{api_base}/images/", json=registration) as response:
                upload_url = (await response.json())["upload_url"]
            content = await asyncio.to_thread(photo.read_bytes)
            async with ClientSession(raise_for_status=True) as storage:
                await storage.put(upload_url, data=content, headers={"Content-Type": "application/octet-stream"})
    return order_id
