"""`show`, `jobs`, `report`, `upload` and `completion` on the command line, before a running service."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from service.sandbox import Sandbox, SandboxConfig
from tests.support.client import Service, StartService
from tests.support.command_line import Outcome, run
from tests.support.loopback import free_port, serving
from tests.support.process import clean_environment
from tests.support.samples import ORDER, OTHER_ORDER, jpeg, order, photo
from tests.support.tools import require_tool
from tests.support.upstream import FakeUpstream

TOKEN = "token-of-the-administrator-0d5e"

Command = Callable[..., Coroutine[Any, Any, Outcome]]


@pytest.fixture(autouse=True)
def two_images(upstream: FakeUpstream) -> None:
    """An order of two images, both in good health."""
    upstream.orders[ORDER] = order(["a", "b"])
    upstream.images |= {"a": jpeg(1), "b": jpeg(2)}


@pytest.fixture
def command(service: Service, tmp_path: Path) -> Command:
    """Run a command whose service the environment names."""

    async def ask(*arguments: str, **environment: str) -> Outcome:
        return await run(*arguments, folder=tmp_path, **{"AUTOENHANCE_BATCH_URL": service.url, **environment})

    return ask


async def test_show_says_what_an_order_holds(upstream: FakeUpstream, command: Command) -> None:
    """A line for each image, its name in the ZIP, and how it stands."""
    upstream.orders[ORDER] = order(["a", photo("b", status="processing")])

    ended = await command("show", ORDER)

    assert ended.code == 0, ended.errors
    assert "12 Harbour Lane: 2 images, 1 ready, 1 processing" in ended.output
    rows = [line.split() for line in ended.output.splitlines()]
    assert ["b", "b.jpg", "b.jpg", "processing"] in rows


async def test_names_cannot_write_to_the_terminal(upstream: FakeUpstream, command: Command) -> None:
    """Each stands on its line, without what a terminal would obey, also as the name of what failed."""
    bad = "a\x1b[2J\nb.jpg"
    upstream.orders[ORDER] = order([photo("a", bad), photo("b", bad, status="error")], name=f"House {bad}")

    ended = await command("show", ORDER)

    lines = ended.output.splitlines()
    assert (ended.output.count("\x1b"), len(lines)) == (0, 5)
    assert (lines[0].partition(":")[0], lines[4].partition(":")[0]) == ("House a [2J b.jpg", "a [2J b.jpg")


@pytest.mark.parametrize("flags", [(), ("--json",)])
async def test_what_standard_output_cannot_encode_is_escaped(
    upstream: FakeUpstream, command: Command, flags: tuple[str, ...]
) -> None:
    """As where a system's encoding is not UTF-8."""
    upstream.orders[ORDER] = order([photo("a", "東.jpg")])

    ended = await command("show", ORDER, *flags, PYTHONIOENCODING="ascii")

    assert (ended.code, "\\u6771.jpg" in ended.output) == (0, True), ended.errors


async def test_show_takes_the_address_of_the_page_and_gives_json(service: Service, command: Command) -> None:
    """As the service has it."""
    ended = await command("show", f"{service.url}/?order={ORDER}", "--json", AUTOENHANCE_BATCH_URL="")

    overview = json.loads(ended.output)
    assert overview == json.loads((await service.ask(f"/v1/orders/{ORDER}")).body)


async def test_an_unknown_order_is_exit_code_4(upstream: FakeUpstream, command: Command) -> None:
    """In the service's words."""
    del upstream.orders[ORDER]

    ended = await command("show", ORDER)

    assert (ended.code, ended.output) == (4, "")
    assert "order_not_found" in ended.errors


@pytest.mark.parametrize("arguments", [("show", ORDER), ("jobs", "list"), ("jobs", "follow", "0" * 32)])
async def test_a_service_that_is_not_there_is_exit_code_1(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """In one line; no host has such a name."""
    nobody = f"http://127.0.0.1:{free_port()}"

    ended = await run(*arguments, "--url", nobody, folder=tmp_path)
    unknown = await run(*arguments, "--url", "http://no.such.host.invalid", folder=tmp_path)

    assert (ended.code, unknown.code) == (1, 1)
    assert f"There is no answer from {nobody}" in ended.errors
    assert "There is no host no.such.host.invalid. Is --url right?" in " ".join(unknown.errors.split())
    assert "Traceback" not in ended.errors + unknown.errors


async def test_an_answer_of_something_else_is_told(tmp_path: Path) -> None:
    """A wrong address that answers 200."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async with serving(web.get("/{path:.*}", page)) as url:
        ended = await run("show", ORDER, "--url", url, folder=tmp_path)

    assert (ended.code, "Is --url its URL?" in " ".join(ended.errors.split())) == (4, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", ORDER),
        ("jobs", "start", ORDER),
        ("jobs", "list"),
        ("report", "0" * 32),
        ("share", "list"),
        ("download", ORDER, "--part", "all"),
        ("download", ORDER, OTHER_ORDER, "--together"),
    ],
)
async def test_an_answer_that_lacks_something_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Of another service, or of another version of this one."""

    async def handle(request: web.Request) -> web.Response:
        return web.json_response({})

    async with serving(web.route("*", "/{path:.*}", handle)) as url:
        ended = await run(*arguments, "--url", url, folder=tmp_path)

    assert (ended.code, ended.errors.count("\n")) == (4, 1)
    assert f"{url} answered without '" in ended.errors


async def test_a_job_is_started_followed_listed_and_reported(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """From its id to what became of each image; missing ones are exit code 3."""
    upstream.images["b"] = 404
    service = await start_service(service_api_key="key-of-a-caller-0")
    where = {"AUTOENHANCE_BATCH_URL": service.url, "AUTOENHANCE_BATCH_KEY": "key-of-a-caller-0"}

    started = await run("jobs", "start", ORDER, folder=tmp_path, **where)
    job_id = started.output.strip()
    followed = await run("jobs", "follow", job_id, folder=tmp_path, **where)
    as_json = await run("jobs", "follow", job_id, "--json", folder=tmp_path, **where)
    listed = await run("jobs", "list", "--status", "complete", "--order", ORDER, folder=tmp_path, **where)
    last = json.loads(as_json.output.splitlines()[-1])
    reported = await run("report", last["archive_id"], folder=tmp_path, **where)

    assert (started.code, followed.code, as_json.code, listed.code, reported.code) == (0, 3, 3, 0, 3)
    assert followed.output.splitlines()[-1] == "complete: 1 of 2 images, 1 failed"
    assert last["status"] == "complete"
    assert [job_id, ORDER, "complete", "1/2", "1"] in [line.split()[:5] for line in listed.output.splitlines()]
    assert "image_not_found" in reported.output


async def test_a_job_of_several_orders_is_started_followed_listed_and_reported(
    upstream: FakeUpstream, start_service: StartService, tmp_path: Path
) -> None:
    """With an order that cannot be had, which is exit code 3 and named with its reason."""
    service = await start_service(service_api_key="key-of-a-caller-0")
    where = {"AUTOENHANCE_BATCH_URL": service.url, "AUTOENHANCE_BATCH_KEY": "key-of-a-caller-0"}

    started = await run("jobs", "start", ORDER, OTHER_ORDER, "--wait", "5", folder=tmp_path, **where)
    job_id = started.output.strip()
    followed = await run("jobs", "follow", job_id, folder=tmp_path, **where)
    listed = await run("jobs", "list", "--order", OTHER_ORDER, folder=tmp_path, **where)
    archive_id = (await service.ask(f"/v1/jobs/{job_id}", headers={"X-API-Key": "key-of-a-caller-0"})).document[
        "archive_id"
    ]
    reported = await run("report", archive_id, folder=tmp_path, **where)

    assert (started.code, followed.code, listed.code, reported.code) == (0, 3, 0, 3), started.errors
    last = followed.output.splitlines()[-1]
    assert last.startswith(f"complete: 2 of 2 images. {OTHER_ORDER}: Autoenhance does not know this order.")
    assert [job_id, f"{ORDER},", OTHER_ORDER, "complete"] in [line.split()[:4] for line in listed.output.splitlines()]
    assert f"Archive {archive_id} of orders {ORDER}, {OTHER_ORDER}: partial" in reported.output
    assert "(order_not_found)" in reported.output


async def test_a_job_can_be_cancelled_while_it_is_followed(upstream: FakeUpstream, command: Command) -> None:
    """Whoever follows is told, by exit code 4 too."""
    upstream.hold("a")
    job_id = (await command("jobs", "start", ORDER)).output.strip()
    following = asyncio.create_task(command("jobs", "follow", job_id))
    await upstream.until(lambda: upstream.calls("a") > 0)

    cancelled = await command("jobs", "cancel", job_id)
    followed = await following

    assert (cancelled.code, cancelled.output) == (0, f"{job_id}: cancelled\n")
    assert (followed.code, followed.output.splitlines()[-1].partition(":")[0]) == (4, "cancelled")


async def test_files_become_an_order(start_service: StartService, tmp_path: Path) -> None:
    """Its id is what is printed; a file that is no picture is named, and exit code 3."""
    (tmp_path / "kitchen.jpg").write_bytes(jpeg())
    (tmp_path / "notes.txt").write_text("no picture")
    async with Sandbox(SandboxConfig(image_delay=0)) as sandbox:
        service = await start_service(
            autoenhance_api_base=sandbox.api_base, autoenhance_api_key=sandbox.api_key, admin_token=TOKEN
        )
        where = {"AUTOENHANCE_BATCH_URL": service.url}
        made = await run(
            "upload",
            "kitchen.jpg",
            "notes.txt",
            "--name",
            "12 Harbour Lane",
            "--admin-token",
            TOKEN,
            folder=tmp_path,
            **where,
        )
        refused = await run("upload", "kitchen.jpg", folder=tmp_path, **where)
        missing = await run("upload", "nowhere.jpg", "--admin-token", TOKEN, folder=tmp_path, **where)
        (made_order,) = sandbox.control.state.orders.values()

    assert (made.code, made.output) == (3, f"{made_order.order_id}\n")
    assert made_order.name == "12 Harbour Lane"
    assert "notes" in made.errors
    assert "not_an_image" in made.errors
    assert (refused.code, "--admin-token" in refused.errors) == (4, True)
    assert (missing.code, "There is no file nowhere.jpg" in missing.errors) == (2, True)


async def test_files_of_odd_names_become_an_order_too(start_service: StartService, tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and a line break; why nothing was taken is said of each file."""
    odd = ["k\udce9.jpg", "new\nline.jpg"]
    for name in odd:
        (tmp_path / name).write_bytes(jpeg())
    (tmp_path / "notes.txt").write_text("no picture")
    async with Sandbox(SandboxConfig(image_delay=0)) as sandbox:
        service = await start_service(
            autoenhance_api_base=sandbox.api_base, autoenhance_api_key=sandbox.api_key, admin_token=TOKEN
        )
        where = {"AUTOENHANCE_BATCH_URL": service.url, "ADMIN_TOKEN": TOKEN}
        made = await run("upload", *odd, "--name", "caf\udce9", folder=tmp_path, **where)
        refused = await run("upload", "notes.txt", folder=tmp_path, **where)
        (order_made,) = sandbox.control.state.orders.values()

    assert made.code == 0, made.errors
    assert (order_made.name, [image.name for image in order_made.images]) == ("caf_", ["k_.jpg", "new_line.jpg"])
    assert refused.code == 4
    assert "  notes.txt: It is not a JPEG, PNG or WebP image." in refused.errors


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_is_printed_for_each_shell(tmp_path: Path, shell: str) -> None:
    """Where the shell is there, it takes it without a word."""
    ended = await run("completion", shell, folder=tmp_path)

    assert (ended.code, ended.errors) == (0, "")
    assert "download" in ended.output
    if path := shutil.which(shell):
        script = tmp_path / f"completion.{shell}"
        script.write_text(ended.output)
        checked = subprocess.run([path, "-n", script], capture_output=True, text=True, check=False)  # noqa: ASYNC221
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.timeout(120)
async def test_zsh_completes_commands_and_flags(tmp_path: Path) -> None:
    """As it is typed, after the line of the guide in its start-up file."""
    zsh = require_tool("zsh")
    ended = await run("completion", "zsh", folder=tmp_path)
    (tmp_path / "completion.zsh").write_text(ended.output)
    (tmp_path / "kitchen.jpg").touch()
    (tmp_path / "start.zsh").write_text(
        'autoload -U compinit; compinit -u -D; PS1=; eval "$(cat completion.zsh)"\n'
        "zstyle ':completion:*' insert-tab false\n"  # what is typed fast would be taken for pasted
        "note() { print -r -- $BUFFER >> typed.txt; BUFFER=; }; zle -N note; bindkey '^]' note\n"
    )
    (tmp_path / "type.zsh").write_text(
        'zmodload zsh/zpty\nzpty shell "zsh -f -i"\nzpty -w shell "source ./start.zsh; : > started"\n'
        "until [[ -e started ]]; do sleep 0.1; done\n"
        "for typed in down 'download x --no-p' 'jobs f' 'upload kitch'; do\n"
        "  zpty -n -w shell \"autoenhance-batch $typed\"$'\\t\\x1d'\ndone\n"
        "until [[ -e typed.txt && $(wc -l < typed.txt) -ge 4 ]]; do sleep 0.1; done\n"
    )

    done = subprocess.run(  # noqa: ASYNC221
        [zsh, "-f", "type.zsh"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110
    )

    typed = (tmp_path / "typed.txt").read_text().splitlines()
    expected = ["download", "download x --no-progress", "jobs follow", "upload kitchen.jpg"]
    assert [line.strip() for line in typed] == [f"autoenhance-batch {each}" for each in expected], done


async def test_fish_completes_commands_and_flags(tmp_path: Path) -> None:
    """As it is typed, with the file where the guide puts it."""
    fish = require_tool("fish")
    folder = tmp_path / "fish" / "completions"
    folder.mkdir(parents=True)
    ended = await run("completion", "fish", folder=tmp_path)
    (folder / "autoenhance-batch.fish").write_text(ended.output)
    (tmp_path / "autoenhance-batch").write_text("#!/bin/sh\n")  # fish completes what is there
    (tmp_path / "autoenhance-batch").chmod(0o755)
    asks = "; ".join(
        f"complete --do-complete 'autoenhance-batch {typed}'" for typed in ("down", "download --no-p", "jobs f")
    )

    done = subprocess.run(  # noqa: ASYNC221
        [fish, "-c", asks],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line.split()[0] for line in done.stdout.splitlines()] == ["download", "--no-progress", "follow"], done


async def test_bash_completes_commands_and_flags(tmp_path: Path) -> None:
    """As it is typed."""
    bash = require_tool("bash")
    ended = await run("completion", "bash", folder=tmp_path)
    script = tmp_path / "completion.bash"
    script.write_text(
        ended.output + '\ncomplete_for() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=();'
        ' $(complete -p autoenhance-batch | sed -E "s/.* -F (\\S+) .*/\\1/"); echo "${COMPREPLY[@]}"; }\n'
        "complete_for autoenhance-batch down\ncomplete_for autoenhance-batch download --no-p\n"
        "complete_for autoenhance-batch jobs f\ncomplete_for autoenhance-batch upload kitch\n"
    )
    (tmp_path / "kitchen.jpg").touch()

    done = subprocess.run([bash, script], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: ASYNC221

    assert done.stdout.split() == ["download", "--no-progress", "follow", "kitchen.jpg"], done.stderr


async def test_a_reader_that_has_seen_enough_is_no_error(service: Service, tmp_path: Path) -> None:
    """`show ... | head -1`."""
    script = 'exec "$0" -m service show "$1" --url "$2" | true; exit "${PIPESTATUS[0]}"'
    done = await asyncio.create_subprocess_exec(
        *(require_tool("bash"), "-c", script, sys.executable, ORDER, service.url),
        cwd=tmp_path,
        env=clean_environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await done.communicate()

    assert (done.returncode, errors) == (0, b"")


async def test_an_order_is_shared_by_a_link_that_can_be_revoked(start_service: StartService, tmp_path: Path) -> None:
    """Its page opens without a key, it is listed, and after it was revoked it opens nothing."""
    service = await start_service(service_api_key="key-of-a-caller-0")
    where = {"AUTOENHANCE_BATCH_URL": service.url, "AUTOENHANCE_BATCH_KEY": "key-of-a-caller-0"}

    made = await run("share", "create", ORDER, "--days", "2", folder=tmp_path, **where)
    page = made.output.strip()
    opened = await service.ask(page.removeprefix(service.url))
    listed = await run("share", "list", "--json", folder=tmp_path, **where)
    (link,) = json.loads(listed.output)["items"]
    table = await run("share", "list", folder=tmp_path, **where)
    revoked = await run("share", "revoke", link["link_id"], folder=tmp_path, **where)
    gone = await service.ask(page.removeprefix(service.url))
    again = await run("share", "revoke", link["link_id"], folder=tmp_path, **where)

    assert made.code == 0, made.errors
    assert page.startswith(f"{service.url}/s/")
    assert (opened.status, link["order_id"], page in table.output) == (200, ORDER, True)
    assert (revoked.code, revoked.output) == (0, f"{link['link_id']}: revoked\n")
    assert (gone.status, again.code, "No link of yours" in again.errors) == (404, 4, True)


@pytest.mark.parametrize("days", ["nan", "inf", "soon", "0", "31"])
async def test_a_link_lasts_a_number_of_days(command: Command, days: str) -> None:
    """Anything else is a wrong command."""
    ended = await command("share", "create", ORDER, "--days", days)

    assert (ended.code, f"{days} is not a number of days" in ended.errors) == (2, True)
