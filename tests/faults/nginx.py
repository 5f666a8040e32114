"""nginx before the service, as the guide to operating has it."""

import asyncio
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.scene import TIMEOUT
from tests.support.doc_blocks import ADDRESS, ROOT

_GUIDE = ROOT / "service" / "docs" / "operating.md"

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


def location_of_the_guide() -> str:
    """What the guide tells its reader to write."""
    found = re.search(r"^```nginx\n(.*?)^```$", _GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


@asynccontextmanager
async def nginx(url: str, version: str = "1.1") -> AsyncIterator[str]:
    """Speaks this version of HTTP to the service at `url`; gives its own address."""
    program = shutil.which("nginx")
    assert program is not None, "nginx is not installed"
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        location = location_of_the_guide().replace(ADDRESS, url).replace("version 1.1", f"version {version}")
        file.write_text(_CONFIGURATION.format(folder=folder, port=port, location=location))
        process = await asyncio.create_subprocess_exec(
            program, "-e", f"{folder}/error.log", "-c", str(file), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await _until_open(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def _free_port() -> int:
    """A port that was free a moment ago: nginx cannot be asked for any."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
