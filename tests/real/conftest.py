"""A real service on loopback, as in tests/e2e, known by HTTP alone.

`CHECKOUT=/path/to/another .venv/bin/python -m pytest tests/real` tries the service of another checkout.
"""

from tests.e2e.conftest import service, start_service, upstream

__all__ = ["service", "start_service", "upstream"]
