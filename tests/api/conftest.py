"""A real service on loopback, as in tests/e2e."""

import pytest

from tests.e2e.conftest import start_service, upstream
from tests.support.client import Service, StartService

__all__ = ["start_service", "upstream"]

TOKEN = "token-of-the-administrator-77aa"
FIRST, SECOND = "key-of-the-first-caller", "key-of-the-second-caller"


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A service with two callers' keys and an administrator."""
    return await start_service(service_api_key=f"{FIRST},{SECOND}", admin_token=TOKEN)
