"""A service with an administrator, in front of a real sandbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.sandbox import Sandbox, SandboxConfig
from tests.e2e.uploads.orders import TOKEN
from tests.support.client import Service, StartService


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """An Autoenhance API that enhances at once."""
    async with Sandbox(SandboxConfig(image_delay=0)) as running:
        yield running


@pytest.fixture
async def service(sandbox: Sandbox, start_service: StartService, tmp_path: Path) -> Service:
    """A service with an administrator, in front of the sandbox; its data is in `tmp_path / "data"`."""
    return await start_service(
        autoenhance_api_base=sandbox.api_base,
        autoenhance_api_key=sandbox.api_key,
        admin_token=TOKEN,
        data_dir=tmp_path / "data",
        max_images_per_order=6,
    )
