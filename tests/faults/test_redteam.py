"""Hostile callers and hard times. Huge orders and many connections, which take longer, are tried with the soak."""

from pathlib import Path

import pytest

from tests.faults.redteam import attack

NO_MATTER = 20_000.0
"""Milliseconds: how quick `/livez` is says how busy the machine is."""


@pytest.mark.parametrize("name", ["clock", "descriptors", "connections"])
async def test_an_attack_costs_nobody_anything(tmp_path: Path, name: str) -> None:
    """Orders are whole meanwhile and afterwards, nothing is bought twice, and the log stays short."""
    (await attack(tmp_path, name, most_ms=NO_MATTER)).verify()
