"""The Dockerfile and the Compose file, judged by other people's checkers."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from service.settings import Settings
from tests.deploy.test_kubernetes import STOP_SECONDS
from tests.support.tools import missing, require_tool

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "docker-compose.yml"


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """Not even a remark."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        missing("hadolint")

    ended = subprocess.run([hadolint, ROOT / "Dockerfile"], check=False, capture_output=True, text=True)

    assert (ended.returncode, ended.stdout) == (0, "")


def test_what_lies_in_the_data_volume_is_not_read_as_settings() -> None:
    """`.env` is read from the working directory: it is no volume, and nothing that runs may write there."""
    dockerfile = (ROOT / "Dockerfile").read_text()

    (workdir,), (volume,) = (re.findall(rf"^{word} (.+)$", dockerfile, re.MULTILINE) for word in ("WORKDIR", "VOLUME"))

    assert not Path(workdir).is_relative_to(volume)
    assert f"install -d -o batch -g batch {workdir}" not in dockerfile
    assert not any(line.startswith("COPY") and ".env" in line for line in dockerfile.splitlines())


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
async def test_the_check_of_health_asks_the_service_itself(
    aiohttp_server: AiohttpServer, status: int, *, is_healthy: bool
) -> None:
    """Whatever proxy there is for Autoenhance: it would ask its own host."""

    async def livez(request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/livez", livez)
    server = await aiohttp_server(app, host="127.0.0.1")
    (command,) = re.findall(r"^ +CMD (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    _, *arguments = json.loads(command)

    check = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"PORT": str(server.port), "HTTP_PROXY": "http://127.0.0.1:1"},
        stderr=asyncio.subprocess.DEVNULL,
    )

    assert (await check.wait() == 0) is is_healthy


def test_the_demo_of_the_workflow_keeps_its_zip_where_it_may_write() -> None:
    """The image's own folders are read-only, and its working directory is one of them."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()

    (demo,) = re.findall(r"docker run .* demo .*", workflow)

    mounts = re.findall(r"--tmpfs ([^\s:]+)", demo)
    (folder,) = re.findall(r"--output (\S+)", demo)
    assert "--read-only" in demo
    assert folder in mounts
    assert "/tmp" in mounts


def test_the_compose_file_follows_the_specification() -> None:
    """Checked against the Compose schema."""
    node, checker = require_tool("node"), Path(__file__).parent / "node_modules" / "dclint" / "bin" / "dclint.cjs"
    if not checker.exists():
        missing("node_modules (npm ci in tests/deploy)")
    rules = Path(__file__).parent / ".dclintrc.json"

    ended = subprocess.run([node, checker, "-c", rules, COMPOSE], check=False, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout


def test_the_demo_s_secrets_are_long_enough_for_the_image() -> None:
    """It listens beyond the loopback, where short ones stop the start."""
    environment = compose()["services"]["service"]["environment"]
    names = {name: value for name, value in environment.items() if name.lower() in Settings.model_fields}

    values = {name.lower(): value for name, value in names.items()}

    assert "admin_token" in values
    Settings.load(_env_file=None, **values, host="0.0.0.0")


def test_images_of_others_are_pinned() -> None:
    """What worked yesterday works today."""
    images = [service["image"] for service in compose()["services"].values() if "image" in service]

    others = [image for image in images if not image.startswith("autoenhance-")]

    assert others
    assert all(re.search(r":v?(RELEASE\.)?\d", image) for image in others)


def test_ports_are_open_to_this_machine_only() -> None:
    """The demo's keys are known to everybody."""
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_bucket_s_rules_are_those_for_s3() -> None:
    """What must never expire has no rule there either."""
    rules = json.loads((ROOT / "deploy" / "s3" / "lifecycle.json").read_text())["Rules"]
    wanted = {
        rule["Filter"]["Prefix"].partition("/")[2]: rule["Expiration"]["Days"] for rule in rules if "Expiration" in rule
    }
    services = compose()["services"]
    prefix = services["replica-1"]["environment"]["STORE_URL"].removeprefix("s3://batch/")
    (script,) = services["bucket"]["command"]

    ended = subprocess.run(
        ["sh", "-ec", 'mc() { echo "mc $*"; }\n' + script.replace("$$", "$")],
        check=True,
        capture_output=True,
        text=True,
    )

    added = re.findall(r"^mc ilm rule add --expire-days (\d+) --prefix (\S+) local/batch$", ended.stdout, re.MULTILINE)
    assert ended.stdout.count("rule add") == len(added)
    assert {place.removeprefix(f"{prefix}/"): int(days) for days, place in added} == wanted


def test_settings_in_the_compose_file_exist() -> None:
    """A misspelt variable would be ignored in silence."""
    names = {name.upper() for name in Settings.model_fields}
    document = compose()

    given = {*document["x-settings"], *document["x-replica"]["environment"]} - {"<<"}

    assert {name for name in given if not name.startswith("AWS_")} <= names


def test_each_instance_is_given_the_time_that_a_stop_takes() -> None:
    """In the Compose file, and in the guide's own command."""
    services = compose()["services"]
    given = {services[name]["stop_grace_period"] for name in ("service", "replica-1", "replica-2", "replica-3")}

    (guide,) = re.findall(r"--stop-timeout (\d+)", (ROOT / "service" / "docs" / "operating.md").read_text())

    assert given == {f"{STOP_SECONDS:.0f}s"}
    assert float(guide) == STOP_SECONDS


def test_files_that_are_mounted_exist() -> None:
    """A missing one would become an empty folder in the container."""
    mounts = [mount for service in compose()["services"].values() for mount in service.get("volumes", ())]

    paths = [mount.partition(":")[0] for mount in mounts if mount.startswith("./")]

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
