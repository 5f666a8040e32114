"""What the guide to operating has its reader set up, set up."""

import asyncio
import json
import re
import subprocess
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import pytest
import yaml
from aiohttp import ClientSession
from yarl import URL

from service.api.share_links import MAX_LINK_SECONDS
from service.samples import PHOTOS
from service.sandbox import SAMPLE_ORDER_ID, Sandbox
from tests.support.doc_blocks import ROOT
from tests.support.loopback import free_port, until_ready
from tests.support.process import ServiceProcess
from tests.support.prometheus import JOB, run_configured
from tests.support.redis_server import RedisServer
from tests.support.s3_server import S3Server
from tests.support.tools import require_tool

GUIDE = (ROOT / "service" / "docs" / "operating.md").read_text()
KEY = "a-key-of-the-studio-9d41"


def block(section: str, language: str) -> str:
    """The first block of this language in a section of the guide."""
    text = re.split(r"^## ", GUIDE.partition(f"\n## {section}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Running."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def storage() -> Iterator[S3Server]:
    """Running."""
    server = S3Server()
    yield server
    server.stop()


@asynccontextmanager
async def balancer(urls: list[str], folder: Path) -> AsyncIterator[str]:
    """HAProxy as in the guide, in front of these instances."""
    port = free_port()
    text = block("Several instances", "haproxy").replace("bind :8080", f"bind 127.0.0.1:{port}")
    for written, url in zip(("10.0.0.11:8000", "10.0.0.12:8000"), urls, strict=True):
        assert written in text
        text = text.replace(written, urlsplit(url).netloc)
    path = folder / "haproxy.cfg"
    path.write_text(text)
    process = await asyncio.create_subprocess_exec(require_tool("haproxy"), "-db", "-f", path)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.timeout(300)
async def test_a_pair_as_the_guide_sets_it_up(redis: RedisServer, storage: S3Server, tmp_path: Path) -> None:
    """Both give one archive; both are scraped; without one of them the other answers, and its absence is noticed."""
    written = dict(line.split("=", 1) for line in block("Several instances", "ini").splitlines() if line[0] != "#")
    real = {"SHARED_URL": redis.url, "STORE_URL": storage.make_bucket(), **storage.environment}
    assert written.keys() == real.keys()
    config = yaml.safe_load(block("Metrics", "yaml"))
    assert [each["job_name"] for each in config["scrape_configs"]] == [JOB]
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox())
        sandbox.control.add_sample_order()
        settings = {
            **real,
            "AUTOENHANCE_API_BASE": sandbox.api_base,
            "AUTOENHANCE_API_KEY": sandbox.api_key,
            "SERVICE_API_KEY": f"studio:{KEY}",
            "TRUSTED_PROXIES": "127.0.0.1",
        }
        pair = [
            await stack.enter_async_context(ServiceProcess(tmp_path / name, **settings, STORE_MAX_BYTES=str(64 << 20)))
            for name in ("one", "two")
        ]
        urls = [each.url for each in pair]
        url = await stack.enter_async_context(balancer(urls, tmp_path))
        prometheus = await stack.enter_async_context(run_configured(config, urls, tmp_path))
        session = await stack.enter_async_context(ClientSession(headers={"X-API-Key": KEY}))

        async def download() -> tuple[str, bytes]:
            async with session.get(f"{url}/v1/orders/{SAMPLE_ORDER_ID}/images") as response:
                assert response.status == HTTPStatus.OK
                return response.headers["X-Archive-Id"], await response.read()

        await until_ready(session, f"{url}/readyz")
        for each in urls:
            async with session.get(f"{each}/health") as response:
                health = await response.json()
            assert (health["redis"], health["s3"]) == ("ok", "ok")
        await prometheus.until(f'sum(up{{job="{JOB}"}}) == 2')
        for path in ("/metrics", "/%6detrics"):  # not for the public
            async with session.get(URL(url + path, encoded=True)) as response:
                assert response.status == HTTPStatus.NOT_FOUND
        first, *others = [await download() for _ in range(4)]
        await prometheus.until("count(batch_archives_served_total > 0) == 2")
        groups = (await prometheus.get("rules"))["groups"]
        code = await pair[0].stop()
        last = await download()
        await prometheus.until(f'sum(up{{job="{JOB}"}}) == 1')

    assert set(others) == {first}
    with zipfile.ZipFile(BytesIO(first[1])) as archive:
        assert len(archive.namelist()) == len(list(PHOTOS.glob("*.jpg")))
    assert (code, last) == (0, first)
    assert [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


def test_the_bucket_s_lifecycle_rules_are_those_of_the_guide(storage: S3Server) -> None:
    """S3 takes them; what must never expire has no rule; the share links outlive the longest of them."""
    rules = json.loads((ROOT / "deploy" / "s3" / "lifecycle.json").read_text())
    places = re.findall(r"^- expire objects below (.*?) after", GUIDE, re.MULTILINE)
    named = {f"batch/{place}" for line in places for place in re.findall(r"`(\S+)`", line)}
    client = boto3.client(
        "s3",
        endpoint_url=storage.url,
        region_name="us-east-1",
        aws_access_key_id="access",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="my-bucket")

    client.put_bucket_lifecycle_configuration(Bucket="my-bucket", LifecycleConfiguration=rules)
    taken = client.get_bucket_lifecycle_configuration(Bucket="my-bucket")["Rules"]

    expiring = {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in taken if "Expiration" in rule}
    assert len(taken) == len(rules["Rules"])
    assert expiring.keys() == named
    assert "batch/generations/" not in named
    assert {days for place, days in expiring.items() if "links" in place} == {MAX_LINK_SECONDS // 86400 + 1}


def test_a_backup_holds_what_lies_behind_a_link(tmp_path: Path) -> None:
    """Under systemd the directory is a link to one that only the service may enter. Only the backup is left there."""
    folder = tmp_path / "var" / "lib"
    (folder / "private" / "autoenhance-batch" / "images").mkdir(parents=True)
    (folder / "autoenhance-batch").symlink_to("private/autoenhance-batch")
    (folder / "private" / "autoenhance-batch" / "batch.sqlite3").write_text("jobs")
    section = GUIDE.partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
    backup, restoring = (
        "\n".join(line for line in text.splitlines() if not line.startswith("systemctl "))
        for text in re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    )

    def run(command: str) -> None:
        assert "/var/lib/autoenhance-batch" in command
        subprocess.run(["sh", "-ec", command.replace("/var/lib", str(folder))], cwd=tmp_path, check=True)

    run(backup)
    (folder / "private" / "autoenhance-batch" / "batch.sqlite3").write_text("other jobs")
    (folder / "private" / "autoenhance-batch" / "batch.sqlite3-wal").write_text("newer than the backup")
    run(restoring)

    assert (folder / "private" / "autoenhance-batch" / "batch.sqlite3").read_text() == "jobs"
    assert not (folder / "private" / "autoenhance-batch" / "batch.sqlite3-wal").exists()
