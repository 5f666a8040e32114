"""Peak memory of the service for a small order and for a 2 GiB one: `python -m tests.bench.memory`."""

import asyncio
import tempfile
from pathlib import Path

from aiohttp import ClientSession

from service.sandbox import ImageSpec, Sandbox, SandboxConfig
from tests.process import ServiceProcess

MIB = 1 << 20
_IMAGE = 20 * 1024 * 1024


async def peak_memory(sandbox: Sandbox, images: int) -> tuple[int, int]:
    """Download an order of so many 20 MiB images through a fresh service; returns (peak bytes, archive bytes)."""
    order = sandbox.control.add_order([ImageSpec(size=_IMAGE)] * images)
    received = 0
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "AUTOENHANCE_API_BASE": sandbox.api_base,
            "AUTOENHANCE_API_KEY": sandbox.api_key,
            "STORE_MAX_BYTES": str(4096 * MIB),
        }
        async with ServiceProcess(Path(folder), **settings) as service, ClientSession() as session:
            url = f"{service.url}/v1/orders/{order.order_id}/images"
            async with session.get(url, params={"preview": "false"}) as response:
                response.raise_for_status()
                async for chunk in response.content.iter_any():
                    received += len(chunk)
            return service.peak_memory, received


async def main() -> None:
    """Print both figures and what lies between them."""
    async with Sandbox(SandboxConfig()) as sandbox:
        small, small_bytes = await peak_memory(sandbox, 3)
        large, large_bytes = await peak_memory(sandbox, 100)
    print(f"order of   3 images, {small_bytes / MIB:7.0f} MiB: peak {small / MIB:6.1f} MiB")
    print(f"order of 100 images, {large_bytes / MIB:7.0f} MiB: peak {large / MIB:6.1f} MiB")
    print(f"growth: {(large - small) / MIB:.1f} MiB (may be 30)")


if __name__ == "__main__":
    asyncio.run(main())
