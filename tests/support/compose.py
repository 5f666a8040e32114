"""docker-compose.yml without containers: each service's own command, by the programs that are installed here.

Each service has a loopback address of its own, so that all can use the ports that the file names. What stands for a
container: its address in place of its name, folders in place of volumes, and the variables of the Dockerfile.
"""

import asyncio
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.doc_blocks import ROOT
from tests.support.process import clean_environment, end_of
from tests.support.tools import require_tool

_TIMEOUT = 60
# The program of an image, and the arguments that the image or the machine gives it besides.
_PROGRAMS = {"prom/prometheus": "prometheus", "haproxy": "haproxy"}
_IN_PLACE_OF = {"valkey-server": "redis-server", "valkey-cli": "redis-cli"}


class Compose:
    """Services by their names in the file."""

    def __init__(self, folder: Path) -> None:
        document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        self.services: dict[str, dict[str, Any]] = document["services"]
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
        self.addresses = {name: f"{network}.{place}" for place, name in enumerate(self.services, 1)}
        self._folder = folder
        self._names = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, self.services))})(?=:\d)")
        self._running: dict[str, asyncio.subprocess.Process] = {}

    def log(self, name: str) -> str:
        """What a service wrote so far."""
        return (self._folder / f"{name}.log").read_text()

    async def start(self, name: str, **more: str) -> None:
        """Start a service by its command; `more` are variables besides those in the file."""
        command, environment = await asyncio.to_thread(self._command, name)
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                *command, env=environment | more, cwd=self._folder / name, stdout=log, stderr=log
            )
        if "healthcheck" in self.services[name]:
            await self._until_healthy(name)

    async def stop(self, name: str) -> int:
        """SIGTERM; returns the exit code."""
        process = self._running.pop(name)
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()

    async def close(self) -> None:
        """Stop what still runs."""
        for name in reversed([*self._running]):
            await self.stop(name)

    def _command(self, name: str) -> tuple[Sequence[str], dict[str, str]]:
        """Its program with its arguments, and its variables."""
        service, address = self.services[name], self.addresses[name]
        (self._folder / name).mkdir()
        arguments = [*service.get("entrypoint", ()), *service.get("command", ())]
        arguments = [self._placed(name, one, after) for after, one in zip(["", *arguments], arguments, strict=False)]
        environment = {key: self._placed(name, value) for key, value in service.get("environment", {}).items()}
        match service["image"].partition(":")[0]:
            case "autoenhance-batch" | "autoenhance-sandbox":
                own = {"HOST": address, "PORT": "8000", "DATA_DIR": str(self._folder / name), "LOG_FORMAT": "json"}
                program = [sys.executable] if "entrypoint" in service else [sys.executable, "-m", "service"]
                arguments = arguments[1:] if arguments[:1] == ["python"] else arguments or ["serve"]
                return [*program, *arguments], clean_environment() | own | environment
            case "valkey/valkey":
                server = require_tool(_IN_PLACE_OF[arguments[0]])
                return [server, *arguments[1:], "--bind", address, "--dir", str(self._folder / name)], {**os.environ}
            case "prom/prometheus":
                more = [f"--web.listen-address={address}:9090"]
                return [require_tool(_PROGRAMS["prom/prometheus"]), *arguments, *more], {**os.environ}
            case "haproxy":
                configuration = self._mounted(name, "/usr/local/etc/haproxy/haproxy.cfg")
                return [require_tool(_PROGRAMS["haproxy"]), "-W", "-db", "-f", configuration], {**os.environ}
        raise NotImplementedError(service["image"])

    def _placed(self, name: str, text: str, after: str = "") -> str:
        """An argument with addresses in place of names, and with files of this machine in place of a container's."""
        if text == "0.0.0.0":
            return self.addresses[name]
        if after.startswith("--") and text in self.addresses:
            return self.addresses[text]
        option, sign, path = text.rpartition("=")
        if path.startswith("/"):
            return f"{option}{sign}{self._mounted(name, path)}"
        return self._names.sub(lambda found: self.addresses[found[1]], text)

    def _mounted(self, name: str, path: str) -> str:
        """What a path in the container is here: a copy of what is mounted, or a folder for a volume."""
        for volume in self.services[name].get("volumes", ()):
            source, target = volume.split(":")[:2]
            if not path.startswith(target):
                continue
            copy = self._folder / name / "mounted" / Path(target).name
            if not source.startswith("."):
                copy.mkdir(parents=True, exist_ok=True)
            elif not copy.exists():
                self._copy(name, ROOT / source, copy)
            return str(copy) + path.removeprefix(target)
        raise LookupError(f"{path} is in no volume of {name}")

    def _copy(self, name: str, source: Path, copy: Path) -> None:
        """With addresses in place of names; Prometheus looks none up here."""
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            for path in source.iterdir():
                self._copy(name, path, copy / path.name)
            return
        text = self._names.sub(lambda found: self.addresses[found[1]], source.read_text())
        if source.name == "haproxy.cfg":
            text = text.replace("bind :", f"bind {self.addresses[name]}:")
        if source.name == "prometheus.yml":
            configuration = yaml.safe_load(text)
            for scrape in configuration["scrape_configs"]:
                for found in scrape.pop("dns_sd_configs"):
                    targets = [f"{self.addresses[one]}:{found['port']}" for one in found["names"]]
                    scrape["static_configs"] = [{"targets": targets}]
                scrape["scrape_interval"] = "1s"
            text = yaml.safe_dump(configuration)
        copy.write_text(text)

    async def _until_healthy(self, name: str) -> None:
        """By the check in the file."""
        _, program, *arguments = self.services[name]["healthcheck"]["test"]
        address = self.addresses[name]
        if program == "python":
            command = [sys.executable, *(one.replace("127.0.0.1", address) for one in arguments)]
        else:
            command = [require_tool(_IN_PLACE_OF[program]), "-h", address, *arguments]
        async with asyncio.timeout(_TIMEOUT):
            while True:
                check = await asyncio.create_subprocess_exec(
                    *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
                )
                await end_of(check, _TIMEOUT)
                if check.returncode == 0:
                    return
                assert self._running[name].returncode is None, self.log(name)


@asynccontextmanager
async def compose(folder: Path) -> AsyncIterator[Compose]:
    """Nothing runs yet; all that was started is stopped at the end."""
    running = Compose(folder)
    try:
        yield running
    finally:
        await running.close()
