"""`download` on the command line: exit codes, resuming, and what is left on disk."""

import asyncio
import json
import os
import pty
import signal
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.client import TIMEOUT, Service, StartService
from tests.support.command_line import Outcome, run
from tests.support.loopback import free_port, serving
from tests.support.process import clean_environment
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.tools import require_tool
from tests.support.upstream import FakeUpstream


async def download(
    service: Service, folder: Path, *arguments: str, orders: tuple[str, ...] = (ORDER,), **environment: str
) -> Outcome:
    return await run("download", *orders, "--url", service.url, *arguments, folder=folder, **environment)


def images_in(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """An order of two images, both in good health."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}


async def test_a_whole_download_is_exit_code_0(service: Service, tmp_path: Path) -> None:
    """The ZIP has the name asked for, and nothing else is left."""
    ended = await download(service, tmp_path, "-o", "house.zip")

    assert ended.code == 0, ended.errors
    assert images_in(tmp_path / "house.zip") == {"a.jpg": jpeg(1), "b.jpg": jpeg(2)}
    assert files_in(tmp_path) == ["house.zip"]


async def test_without_a_name_the_order_names_the_file(service: Service, tmp_path: Path) -> None:
    """As a browser would save it."""
    ended = await download(service, tmp_path)

    assert ended.code == 0, ended.errors
    assert (tmp_path / "12 Harbour Lane.zip").is_file()


@pytest.mark.parametrize("folder", [".", "photos"])
async def test_in_a_folder_the_order_names_the_file(service: Service, tmp_path: Path, folder: str) -> None:
    """`-o` may name one."""
    (tmp_path / "photos").mkdir()

    ended = await download(service, tmp_path, "-o", folder)

    assert ended.code == 0, ended.errors
    assert files_in(tmp_path / folder) == ["12 Harbour Lane.zip"]


async def test_a_dash_is_standard_output(service: Service, tmp_path: Path) -> None:
    """The ZIP and nothing else; progress and the summary go to standard error, and no file is left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "download", ORDER, "--url", service.url, "-o", "-"),
        cwd=tmp_path,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()

    assert process.returncode == 0, errors
    assert output == (await service.download()).body
    assert b"2 of 2 images" in errors
    assert files_in(tmp_path) == []


async def test_a_reader_that_leaves_is_exit_code_1(service: Service, tmp_path: Path) -> None:
    """In one line, as nothing else can be said."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", '{ "$0" -m service download "$1" --url "$2" -o -; echo "exit code $?" >&2; } | true'),
        *(sys.executable, ORDER, service.url),
        cwd=tmp_path,
        env=clean_environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()

    assert b"Broken pipe. Run the same command again." in errors
    assert b"exit code 1" in errors
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors


async def test_missing_images_are_exit_code_3_and_are_named(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """The ZIP is whole all the same."""
    upstream.images["b"] = 404

    ended = await download(service, tmp_path, "-o", "house.zip")

    assert ended.code == 3
    assert "b.jpg" in ended.errors
    assert "image_not_found" in ended.errors
    assert "--image b" in ended.errors
    assert "GET /" not in ended.errors
    assert "a.jpg" in images_in(tmp_path / "house.zip")


@pytest.mark.parametrize("options", [(), ("--strict",)])
async def test_advice_names_the_flags_of_this_command(
    upstream: FakeUpstream, service: Service, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Not the parameters and headers of the API, which nobody types here."""
    upstream.orders[ORDER] = order(["a", photo("b", status="processing")])

    ended = await download(service, tmp_path, *options)

    assert "run the command again with --wait SECONDS" in " ".join(ended.errors.split())
    assert "wait=true" not in ended.errors
    assert "on_failure" not in ended.errors


async def test_a_refusal_is_exit_code_4_in_the_services_words(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """An unknown order leaves no file."""
    del upstream.orders[ORDER]

    ended = await download(service, tmp_path, "-o", "house.zip")

    assert ended.code == 4
    assert "order_not_found" in ended.errors
    assert not (tmp_path / "house.zip").exists()


async def test_an_order_id_that_is_none_is_exit_code_2(service: Service, tmp_path: Path) -> None:
    """Nothing is asked."""
    ended = await run("download", "../../etc", "--url", service.url, folder=tmp_path)

    assert ended.code == 2


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://["])
async def test_a_url_that_is_none_is_exit_code_2(tmp_path: Path, url: str) -> None:
    """At once: running the command again would not help."""
    ended = await run("download", ORDER, "--url", url, folder=tmp_path)

    assert ended.code == 2
    assert f"--url: {url} is not a URL" in ended.errors


async def test_a_folder_that_is_not_there_is_exit_code_2(service: Service, tmp_path: Path) -> None:
    """It is named, and not the file that the command works in."""
    ended = await download(service, tmp_path, "-o", "nowhere/house.zip")

    assert ended.code == 2
    assert "--output: there is no folder nowhere." in ended.errors


async def test_the_key_comes_from_the_environment(start_service: StartService, tmp_path: Path) -> None:
    """As the service itself reads it: the first of several, without its caller's name."""
    service = await start_service(service_api_key="caller-key-1")

    refused = await download(service, tmp_path, "-o", "house.zip")
    taken = await download(service, tmp_path, "-o", "house.zip", SERVICE_API_KEY="studio:caller-key-1, caller-key-2")

    assert (refused.code, taken.code) == (4, 0), taken.errors
    assert "--api-key" in refused.errors
    assert "X-API-Key" not in refused.errors


async def test_options_reach_upstream(upstream: FakeUpstream, service: Service, tmp_path: Path) -> None:
    """As the query of the download."""
    ended = await download(
        service, tmp_path, "-o", "x.zip", "--quality", "70", "--full-size", "--image", "a", "--max-credits", "1"
    )

    assert ended.code == 0, ended.errors
    (asked,) = upstream.requests("a")
    assert (asked.query["quality"], asked.query["preview"]) == ("70", "false")
    assert upstream.calls("b") == 0


async def test_too_many_credits_are_refused_before_they_are_spent(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """With the number, in the words of this command."""
    ended = await download(service, tmp_path, "-o", "x.zip", "--full-size", "--max-credits", "1")

    assert ended.code == 4
    assert "--max-credits" in ended.errors
    assert "max_credits_exceeded" in ended.errors
    assert upstream.image_calls == 0


async def test_each_zip_may_cost_so_many_credits(upstream: FakeUpstream, service: Service, tmp_path: Path) -> None:
    """As the help says: of several orders each."""
    upstream.orders |= {ORDER: order(["a"]), OTHER_ORDER: order(["b"])}

    ended = await download(service, tmp_path, "--full-size", "--max-credits", "1", orders=(ORDER, OTHER_ORDER))
    told = await run("download", "--help", folder=tmp_path)

    assert (ended.code, upstream.image_calls) == (0, 2), ended.errors
    assert "each ZIP counts by itself" in " ".join(told.output.split())


class Breaking:
    """A middleman that breaks the first connections in the middle of the archive, as a bad network does."""

    def __init__(self, target: str, *, breaks: int, after: int) -> None:
        self._target = target
        self._breaks = breaks
        self._after = after
        self.ranges: list[str | None] = []

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.ranges.append(next((line.partition(": ")[2] for line in lines if line.startswith("Range")), None))
        host, port = self._target.removeprefix("http://").split(":")
        answers, asking = await asyncio.open_connection(host, int(port))
        asking.write(head.replace(b"keep-alive", b"close"))
        left = self._after if self._breaks > 0 else None
        self._breaks -= 1
        while block := await answers.read(16_384):
            writer.write(block)
            await writer.drain()
            if left is not None and (left := left - len(block)) <= 0:
                break
        writer.close()
        asking.close()


async def test_a_broken_download_is_taken_up_again_by_itself(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """From the byte where it broke, over as many connections as it takes."""
    upstream.images |= {"a": jpeg(1, 1_500_000), "b": jpeg(2, 1_500_000)}
    breaking = Breaking(service.url, breaks=2, after=900_000)
    server = await asyncio.start_server(breaking.relay, "127.0.0.1", 0)

    async with server:
        port = server.sockets[0].getsockname()[1]
        ended = await run("download", ORDER, "--url", f"http://127.0.0.1:{port}", "-o", "house.zip", folder=tmp_path)

    assert ended.code == 0, ended.errors
    assert images_in(tmp_path / "house.zip") == {"a.jpg": jpeg(1, 1_500_000), "b.jpg": jpeg(2, 1_500_000)}
    assert breaking.ranges[0] is None
    assert all(asked is not None for asked in breaking.ranges[1:])
    assert upstream.image_calls == 2


async def test_one_file_is_downloaded_by_one_command_at_a_time(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """The second says so and leaves the first alone, whose file stays what it was when it was verified."""
    upstream.images["a"] = jpeg(1, 600_000)
    gate = upstream.hold("b")
    first = asyncio.create_task(download(service, tmp_path, "-o", "house.zip"))
    part = tmp_path / "house.zip.part"
    async with asyncio.timeout(TIMEOUT):
        while not part.exists() or part.stat().st_size < 600_000:  # noqa: ASYNC110  # a folder announces nothing
            await asyncio.sleep(0.01)
    second = await download(service, tmp_path, "-o", "house.zip")
    other = await download(service, tmp_path, "-o", "house.zip", "--quality", "50")
    gate.set()
    ended = await first

    told = "Another command downloads into house.zip.part. Wait until it has ended. Run the same command again."
    assert [(run.code, " ".join(run.errors.split())) for run in (second, other)] == [(1, told), (1, told)]
    assert ended.code == 0, ended.errors
    assert images_in(tmp_path / "house.zip").keys() == {"a.jpg", "b.jpg"}
    assert files_in(tmp_path) == ["house.zip"]


async def test_a_half_file_is_gone_on_with_by_the_next_run(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """What an earlier run left is kept, and only the rest is asked for."""
    whole = await service.download()
    (tmp_path / "house.zip.part").write_bytes(whole.body[:1_500])
    note = {"identity": f"{service.url}/v1/orders/{ORDER}/images", "archive_id": whole.headers["X-Archive-Id"]}
    (tmp_path / "house.zip.part.json").write_text(json.dumps(note))
    breaking = Breaking(service.url, breaks=0, after=0)
    server = await asyncio.start_server(breaking.relay, "127.0.0.1", 0)

    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        note["identity"] = f"{url}/v1/orders/{ORDER}/images"
        (tmp_path / "house.zip.part.json").write_text(json.dumps(note))
        ended = await run("download", ORDER, "--url", url, "-o", "house.zip", folder=tmp_path)

    assert ended.code == 0, ended.errors
    assert (tmp_path / "house.zip").read_bytes() == whole.body
    assert breaking.ranges == ["bytes=1500-"]


async def test_a_file_that_was_all_here_is_told_of_as_any_other(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """By an earlier run, which was ended before it had moved the file to its place."""
    upstream.images["b"] = 404
    whole = await service.download(delivery="complete")
    (tmp_path / f"{ORDER}.zip.part").write_bytes(whole.body)
    note = {"identity": f"{service.url}/v1/orders/{ORDER}/images", "archive_id": whole.headers["X-Archive-Id"]}
    (tmp_path / f"{ORDER}.zip.part.json").write_text(json.dumps(note))

    ended = await download(service, tmp_path, "--json")

    told = json.loads(ended.output)
    assert ended.code == 3, ended.errors
    assert (told["file"], told["images"], told["total"]) == ("12 Harbour Lane.zip", 1, 2)


@pytest.mark.parametrize("left", [b"", b"not what it was" * 200])
async def test_a_half_file_that_belongs_to_nothing_is_begun_anew(service: Service, tmp_path: Path, left: bytes) -> None:
    """Without its note, or with another request's, it is not trusted."""
    (tmp_path / "house.zip.part").write_bytes(left)
    (tmp_path / "house.zip.part.json").write_text('{"identity": "another", "archive_id": "0"}')

    ended = await download(service, tmp_path, "-o", "house.zip")

    assert ended.code == 0, ended.errors
    assert images_in(tmp_path / "house.zip").keys() == {"a.jpg", "b.jpg"}


async def test_a_service_that_nobody_runs_is_exit_code_1(tmp_path: Path) -> None:
    """In one line, with what to do next."""
    ended = await run("download", ORDER, "--url", f"http://127.0.0.1:{free_port()}", folder=tmp_path)

    assert ended.code == 1
    assert "Traceback" not in ended.errors
    assert "Run the same command again." in " ".join(ended.errors.split())


async def test_an_answer_that_is_no_archive_leaves_no_file_that_looks_whole(tmp_path: Path) -> None:
    """A wrong address that answers 200 with something else."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async with serving(web.get("/{path:.*}", page)) as url:
        ended = await run("download", ORDER, "--url", url, "-o", "x.zip", folder=tmp_path)

    assert ended.code != 0
    assert "Traceback" not in ended.errors
    assert not (tmp_path / "x.zip").exists()


async def test_a_host_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    """It is asked for once; running the command again would not help."""
    ended = await run("download", ORDER, "--url", "http://no.such.host.invalid", folder=tmp_path)

    assert ended.code == 1
    assert "There is no host no.such.host.invalid" in " ".join(ended.errors.split())


async def test_several_orders_are_downloaded_into_a_folder(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """Two of one name do not replace each other; one that is refused does not end the others."""
    upstream.orders[OTHER_ORDER] = order(["a"])
    nobody = "00000000-0000-4000-8000-000000000000"
    (tmp_path / "zips").mkdir()

    ended = await download(service, tmp_path, "-o", "zips", orders=(ORDER, nobody, OTHER_ORDER))

    assert ended.code == 4, ended.errors
    assert "order_not_found" in ended.errors
    assert images_in(tmp_path / "zips" / "12 Harbour Lane.zip").keys() == {"a.jpg", "b.jpg"}
    assert images_in(tmp_path / "zips" / "12 Harbour Lane (2).zip").keys() == {"a.jpg"}


@pytest.mark.parametrize("output", ["house.zip", "-"])
async def test_several_orders_do_not_fit_one_file(service: Service, tmp_path: Path, output: str) -> None:
    """Exit code 2, before anything is asked."""
    ended = await download(service, tmp_path, "-o", output, orders=(ORDER, OTHER_ORDER))

    assert (ended.code, "several ZIPs need a folder" in ended.errors) == (2, True)


async def test_several_orders_come_together_in_one_zip(
    upstream: FakeUpstream, service: Service, tmp_path: Path
) -> None:
    """A folder each; with the options of a download; a repeat asks for nothing."""
    upstream.orders[OTHER_ORDER] = order(["a"])
    flags = ("-o", "all.zip", "--together", "--names", "{seq}", "--include", "manifest", "--quality", "80", "--json")

    ended, again = [
        await download(service, tmp_path, *flags, orders=(ORDER, OTHER_ORDER, ORDER.upper())) for _ in range(2)
    ]

    assert ended.code == 0, ended.errors
    assert sorted(images_in(tmp_path / "all.zip")) == [
        *("12 Harbour Lane/01.jpg", "12 Harbour Lane/02.jpg", "12 Harbour Lane/_manifest.json"),
        *("12 Harbour Lane_1/01.jpg", "12 Harbour Lane_1/_manifest.json"),
    ]
    told = json.loads(ended.output)
    assert (told["order_ids"], told["images"], told["total"], told["complete"]) == ([ORDER, OTHER_ORDER], 3, 3, True)
    assert json.loads(again.output)["archive_id"] == told["archive_id"]
    assert [request.query["quality"] for request in upstream.requests("a")] == ["80"]


async def test_an_order_that_is_missing_among_several_is_exit_code_3(service: Service, tmp_path: Path) -> None:
    """Its report is shown; the ZIP is there, under the service's name for it."""
    ended = await download(service, tmp_path, "--together", "--no-progress", orders=(ORDER, OTHER_ORDER))

    assert ended.code == 3, ended.errors
    assert ended.errors.startswith("12 Harbour Lane and 1 more.zip: 2 of 2 images, 1 of 2 orders missing\n")
    assert f"Order: {OTHER_ORDER}" in ended.errors
    assert "order_not_found" in ended.errors
    assert sorted(images_in(tmp_path / "12 Harbour Lane and 1 more.zip")) == [
        *("12 Harbour Lane/a.jpg", "12 Harbour Lane/b.jpg", f"order-{OTHER_ORDER}/_download_report.txt"),
    ]


async def test_programs_learn_which_of_several_orders_is_missing_and_why(service: Service, tmp_path: Path) -> None:
    """Although all images of the others are there."""
    ended = await download(service, tmp_path, "--together", "--json", orders=(ORDER, OTHER_ORDER))

    told = json.loads(ended.output)
    assert (ended.code, told["complete"], told["images"], told["failures"]) == (3, False, 2, [])
    (missing,) = told["missing_orders"]
    assert (missing["order_id"], missing["code"]) == (OTHER_ORDER, "order_not_found")
    assert "Autoenhance does not know this order." in missing["reason"]


async def test_a_job_that_fails_is_exit_code_4(service: Service, tmp_path: Path) -> None:
    """In the words of its error."""
    orders = (OTHER_ORDER, OTHER_ORDER.replace("e", "f"))

    ended = await download(service, tmp_path, "--together", "-q", "-o", "all.zip", orders=orders)

    assert (ended.code, "no_orders" in ended.errors) == (4, True), ended.errors
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("orders", "flags"),
    [
        ((ORDER,), ()),
        ((ORDER, ORDER), ()),
        ((ORDER, OTHER_ORDER), ("--image", "a")),
        ((ORDER, OTHER_ORDER), ("--part", "2")),
        ((ORDER, OTHER_ORDER), ("--since", "0" * 32)),
    ],
)
async def test_what_does_not_go_together_is_exit_code_2(
    service: Service, tmp_path: Path, orders: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    """Before anything is asked."""
    ended = await download(service, tmp_path, "--together", *flags, orders=orders)

    assert (ended.code, "--together" in ended.errors) == (2, True), ended.errors


async def test_an_order_is_downloaded_in_its_parts(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """`--part all` asks how many there are; one part by itself is asked for by its number."""
    upstream.orders[ORDER] = order(["a", "b", "c"])
    upstream.images["c"] = jpeg(3)
    service = await start_service(max_images_per_order=2)

    refused = await download(service, tmp_path)
    whole = await download(service, tmp_path, "--part", "all", "--json")
    second = await download(service, tmp_path, "--part", "2", "-o", "second.zip")
    wrong = await download(service, tmp_path, "--part", "0")

    assert (refused.code, whole.code, second.code, wrong.code) == (4, 0, 0, 2), whole.errors
    assert "--part" in refused.errors
    lines = [json.loads(line) for line in whole.output.splitlines()]
    assert [(line["part"], line["file"]) for line in lines] == [
        (number, f"12 Harbour Lane part {number}.zip") for number in (1, 2)
    ]
    found = [images_in(tmp_path / line["file"]).keys() for line in lines]
    assert found == [{"a.jpg", "b.jpg"}, {"c.jpg"}]
    assert images_in(tmp_path / "second.zip").keys() == {"c.jpg"}


async def test_a_part_is_gone_on_with_though_another_comes_first(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """A rerun of `--part all` begins with part 1, and keeps what there is of part 2."""
    service = await start_service(max_images_per_order=1)
    second = await service.download(part="2")
    name = f"{ORDER}-part-2.zip.part"
    (tmp_path / name).write_bytes(second.body[:1_500])
    note = {
        "identity": f"{service.url}/v1/orders/{ORDER}/images?part=2",
        "archive_id": second.headers["X-Archive-Id"],
    }
    (tmp_path / f"{name}.json").write_text(json.dumps(note))

    ended = await download(service, tmp_path, "--part", "all")

    assert (ended.code, "Resuming at byte 1,500." in ended.errors) == (0, True), ended.errors
    assert sorted(files_in(tmp_path)) == [f"12 Harbour Lane part {number}.zip" for number in (1, 2)]


async def test_that_nothing_is_new_is_told_as_a_zip_is(service: Service, tmp_path: Path) -> None:
    """Programs find every member that they look for; there is no file."""
    earlier = await service.download()

    ended = await download(service, tmp_path, "--since", earlier.headers["X-Archive-Id"], "--json")

    nothing = {"archive_id": None, "bytes": 0, "images": 0, "total": 0}
    assert ended.code == 0, ended.errors
    assert json.loads(ended.output) == {"order_id": ORDER, "file": None, **nothing, "complete": True, "failures": []}
    assert files_in(tmp_path) == []


async def test_programs_are_told_in_json(upstream: FakeUpstream, service: Service, tmp_path: Path) -> None:
    """A line for each archive: what is in it, what is missing, and why there is none."""
    upstream.images["b"] = 404
    nobody = "00000000-0000-4000-8000-000000000000"

    ended = await download(service, tmp_path, "--json", orders=(ORDER, nobody))

    found, refused = map(json.loads, ended.output.splitlines())
    assert ended.code == 4
    assert (found["order_id"], found["file"], found["complete"]) == (ORDER, "12 Harbour Lane.zip", False)
    assert (found["images"], found["total"]) == (1, 2)
    assert found["bytes"] == (tmp_path / "12 Harbour Lane.zip").stat().st_size
    assert [(failure["image_id"], failure["code"]) for failure in found["failures"]] == [("b", "image_not_found")]
    assert (refused["order_id"], refused["error"]["code"]) == (nobody, "order_not_found")


async def test_programs_are_told_in_json_that_nobody_answers(tmp_path: Path) -> None:
    """Of one order as of several in one ZIP."""
    where = ("--json", "--url", f"http://127.0.0.1:{free_port()}")

    one = await run("download", ORDER, *where, folder=tmp_path)
    several = await run("download", ORDER, OTHER_ORDER, "--together", *where, folder=tmp_path)

    assert (one.code, several.code) == (1, 1)
    assert [json.loads(ended.output)["error"]["code"] for ended in (one, several)] == ["interrupted", "interrupted"]


async def test_quiet_says_only_what_went_wrong(service: Service, tmp_path: Path) -> None:
    """Nothing on either output when all went well."""
    well = await download(service, tmp_path, "-q")
    badly = await download(service, tmp_path, "-q", orders=("00000000-0000-4000-8000-000000000000",))

    assert (well.code, well.output, well.errors) == (0, "", "")
    assert (badly.code, "order_not_found" in badly.errors) == (4, True)


@pytest.mark.parametrize("flags", [(), ("--no-progress",)])
async def test_what_no_terminal_shows_has_no_bar(service: Service, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """One line: the summary."""
    ended = await download(service, tmp_path, *flags)

    assert ended.errors == "12 Harbour Lane.zip: 2 of 2 images\n"


@pytest.mark.parametrize(("flags", "has_bar"), [((), True), (("--no-progress",), False), (("-q",), False)])
async def test_a_terminal_has_a_bar_unless_flags_say_otherwise(
    service: Service, tmp_path: Path, flags: tuple[str, ...], has_bar: bool
) -> None:
    """With what has arrived, and never a question mark for a speed."""
    shown, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "download", ORDER, "--url", service.url, *flags),
        cwd=tmp_path,
        env=clean_environment() | {"TERM": "xterm", "COLUMNS": "120"},
        stderr=terminal,
    )
    os.close(terminal)
    text = (await asyncio.to_thread(_all_of, shown)).decode()

    assert await process.wait() == 0, text
    assert ("done" in text, "━" in text) == (has_bar, has_bar)
    assert "kB ?" not in text
    assert "bytes ?" not in text


def _all_of(terminal: int) -> bytes:
    """What was written to a terminal until its last writer closed it."""
    pieces = []
    with suppress(OSError):
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces)


async def test_messages_are_not_wrapped_for_a_terminal_that_is_not_there(service: Service, tmp_path: Path) -> None:
    """A line of a log can be searched for."""
    ended = await download(service, tmp_path, orders=("00000000-0000-4000-8000-000000000000",))

    assert ended.code == 4
    (line,) = ended.errors.splitlines()
    assert len(line) > 120
    assert line.endswith("(order_not_found)")


@pytest.mark.parametrize(("flags", "message"), [((), "requires an API key"), (("--api-key", "x"), "does not accept")])
async def test_a_wrong_key_is_told_apart_from_none(
    start_service: StartService, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    """Whoever gave one learns that it is the wrong one."""
    service = await start_service(service_api_key="a-key-of-the-studio-71")

    ended = await download(service, tmp_path, *flags)

    assert (ended.code, message in ended.errors, "--api-key" in ended.errors) == (4, True, True), ended.errors


async def test_a_limit_is_waited_out(service: Service, tmp_path: Path) -> None:
    """After the time that the service names, and the command says that it waits."""
    asked = 0

    async def busy(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked <= 7:  # more often than a broken connection is tried
            return web.json_response({"code": "rate_limited"}, status=429, headers={"Retry-After": "0"})
        raise web.HTTPFound(service.url + request.path_qs)

    async with serving(web.get("/{path:.*}", busy)) as url:
        ended = await run("download", ORDER, "--url", url, folder=tmp_path)

    assert ended.code == 0, ended.errors
    assert ended.errors.count("The service asks to wait 0 s") == 7


async def test_a_limit_of_hours_is_not_waited_out(tmp_path: Path) -> None:
    """The message of the service is shown."""

    async def busy(request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": "rate_limited"}, status=429, headers={"Retry-After": "7200"})

    async with serving(web.get("/{path:.*}", busy)) as url:
        ended = await run("download", ORDER, "--url", url, folder=tmp_path)

    assert (ended.code, "rate_limited" in ended.errors) == (4, True)


@pytest.mark.parametrize(
    ("sign", "ignored", "code"),
    [
        (signal.SIGINT, "HUP", 130),
        (signal.SIGTERM, "HUP", 143),
        (signal.SIGTERM, "INT", 143),
        (signal.SIGHUP, "INT", 129),
    ],
)
async def test_ctrl_c_leaves_what_the_next_run_resumes(
    upstream: FakeUpstream, service: Service, tmp_path: Path, sign: signal.Signals, ignored: str, code: int
) -> None:
    """It says so, and the next run says at which byte. So do SIGTERM and SIGHUP, also where SIGINT is ignored."""
    upstream.images["a"] = jpeg(1, 600_000)
    gate = upstream.hold("b")
    process = await asyncio.create_subprocess_exec(
        # Where tests run in the background of a shell, SIGINT is ignored.
        *(require_tool("env"), "--default-signal=INT,HUP", f"--ignore-signal={ignored}"),
        *(sys.executable, "-m", "service", "download", ORDER, "--url", service.url, "-o", "house.zip"),
        cwd=tmp_path,
        env=clean_environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    part = tmp_path / "house.zip.part"
    async with asyncio.timeout(TIMEOUT):
        while not part.exists() or part.stat().st_size < 600_000:  # noqa: ASYNC110  # a folder announces nothing
            await asyncio.sleep(0.01)
    process.send_signal(sign)
    _, errors = await process.communicate()
    size = part.stat().st_size
    gate.set()
    again = await download(service, tmp_path, "-o", "house.zip")

    assert process.returncode == code
    assert b"Interrupted. Run the same command again to resume the download." in b" ".join(errors.split())
    assert b"Traceback" not in errors
    assert again.code == 0, again.errors
    assert f"Resuming at byte {size:,}." in again.errors
    assert images_in(tmp_path / "house.zip").keys() == {"a.jpg", "b.jpg"}
