"""A real service on loopback, as in tests/e2e."""

from tests.e2e.conftest import service, start_service, upstream

__all__ = ["service", "start_service", "upstream"]
