"""`upload`: an order from files."""

from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from aiohttp import ClientSession, FormData

from service.commands.answers import answered, print_json
from service.commands.client import Service
from service.commands.refusal import refuse
from service.commands.talk import ALL, PARTIAL, USAGE


def upload(service: Service, files: list[Path], name: str | None, *, as_json: bool) -> int:
    """Make an order of the files and print its id; exit code 3 when some could not be uploaded."""
    if missing := [str(file) for file in files if not file.is_file()]:
        return refuse(f"There is no file {', '.join(missing)}.", code=USAGE)

    async def work(session: ClientSession) -> int:
        with ExitStack() as opened:
            form = FormData()
            if name is not None:
                form.add_field("name", name)
            for file in files:
                form.add_field("files", opened.enter_context(file.open("rb")), filename=file.name)
            headers = {"Idempotency-Key": uuid4().hex}
            made = await service.ask(session, "POST", "v1/orders", data=form, headers=headers)
        if as_json:
            print_json(made)
        else:
            print(made["order_id"])
            for file in made["files"]:
                if file["status"] == "failed":
                    refuse(f"{file['name']}: {file['reason']} ({file['code']})")
        return PARTIAL if made["failed"] else ALL

    return answered(service, work)
