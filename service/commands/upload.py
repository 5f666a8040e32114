"""`upload`: an order from files."""

import argparse
import os
import re
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from aiohttp import ClientSession, FormData

from service.commands.answers import Commands, add_asking, answered, print_json, service_of
from service.commands.refusal import refuse
from service.commands.talk import ALL, PARTIAL, USAGE

# Nothing comes before the last file is at Autoenhance.
_SENDING_SECONDS = 3600.0


def add_upload(commands: Commands) -> None:
    upload = commands.add_parser(
        "upload",
        help="create an order from photos; for administrators",
        description="Create an order from photos (JPEG, PNG, WebP; at most 20 MB each) and print its id."
        " The exit code is 3 when some could not be uploaded.",
    )
    upload.add_argument("files", metavar="FILE", type=Path, nargs="+")
    upload.add_argument("--name", help="name of the order")
    add_asking(upload, administrators=True)
    upload.set_defaults(run=_upload)


def _upload(options: argparse.Namespace) -> int:
    service = service_of(options)
    form = FormData()
    if options.name is not None:
        form.add_field("name", _sendable(options.name))

    async def work(session: ClientSession) -> int:
        headers = {"Idempotency-Key": uuid4().hex}
        made = await service.ask(session, "POST", "v1/orders", data=form, headers=headers)
        if options.as_json:
            print_json(made)
        else:
            print(made["order_id"])
            for file in made["files"]:
                if file["status"] == "failed":
                    refuse(f"{file['name']}: {file['reason']} ({file['code']})")
        return PARTIAL if made["failed"] else ALL

    with ExitStack() as opened:
        try:
            if missing := [str(file) for file in options.files if not file.is_file()]:
                return refuse(f"There is no file {', '.join(missing)}.", code=USAGE)
            for file in options.files:
                # Opened without its name: aiohttp would take it, whether it can be sent or not.
                content = opened.enter_context(os.fdopen(os.open(file, os.O_RDONLY), "rb"))
                form.add_field("files", content, filename=_sendable(file.name))
        except OSError as error:
            return refuse(f"{error.filename}: {error.strerror}.", code=USAGE)
        return answered(service, work, _SENDING_SECONDS)


def _sendable(name: str) -> str:
    """A name without what no form can carry: control characters, and bytes that are no UTF-8."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", name)
