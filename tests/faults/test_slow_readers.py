"""Slow readers cost next to nothing. The full form, which also judges a fast reader's speed, runs with the soak."""

from pathlib import Path

from tests.faults.slow_readers import hold_slow_readers
from tests.support.tools import require_tool


async def test_slow_readers_leave_memory_flat(tmp_path: Path) -> None:
    """64 readers at 64 kB/s, and a fast one beside them that gets everything."""
    require_tool("curl")

    (await hold_slow_readers(tmp_path, readers=64, seconds=4, judge_speed=False)).verify()
