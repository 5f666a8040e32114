"""curl, as a process of its own."""

import asyncio
from pathlib import Path

from tests.faults.scene import TIMEOUT


async def curl(*arguments: str) -> tuple[int, str]:
    """Run curl; returns its exit code and what it printed. 0 means that curl takes the transfer for whole."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--disable",
        "--silent",
        "--noproxy",
        "*",
        "--max-time",
        str(TIMEOUT),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()


async def continue_file(url: str, file: Path) -> int:
    """`curl -C -`: get what `file` lacks of `url`. Returns the exit code."""
    code, _ = await curl("--fail", "-C", "-", "-o", str(file), url)
    return code


async def begin_file(url: str, file: Path) -> tuple[int, str]:
    """Get `url` into `file`; returns the exit code and the archive's id, "" when not even the headers came."""
    headers = file.with_suffix(".headers")
    code, _ = await curl("--fail", "-D", str(headers), "-o", str(file), url)
    return code, _archive_id(headers)


async def throughput(url: str) -> tuple[float, int]:
    """Get `url` and forget it; returns bytes per second and bytes. Raises AssertionError when it broke off."""
    code, printed = await curl("--fail", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}", url)
    assert code == 0, f"curl ended with {code}"
    speed, size = printed.split()
    return float(speed), int(size)


def _archive_id(headers: Path) -> str:
    if not headers.exists():
        return ""
    lines = dict(line.partition(": ")[::2] for line in headers.read_text().splitlines())
    return {name.lower(): value for name, value in lines.items()}.get("x-archive-id", "")
