"""`download`: orders' ZIPs from a running service: with progress, resumed when interrupted, verified in the end."""

import argparse
import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from service.commands.answers import Commands, add_service, service_of
from service.commands.client import STILL_ENHANCING, Interrupted, Refused, given, in_flags, read_order
from service.commands.contents import Contents, is_of_others, read_contents
from service.commands.display import Display
from service.commands.fetching import NothingNew, fetch
from service.commands.output import Output
from service.commands.partial import Partial, only_run
from service.commands.request import Request, parts, together
from service.commands.talk import ALL, BROKEN, PARTIAL, REFUSED, STOPPED, USAGE, Talk
from service.commands.together import build
from service.reasons import Reason
from service.upstream.models import Rendition

_EPILOG = """\
Interrupted downloads resume automatically, at once and when the command is run again: the partial file is kept as
FILE.part. The finished file is verified, then moved into place. A symbolic link is followed; standard output (-), a
device or a FIFO gets the ZIP once it is complete and verified. With several orders, -o is a folder. When the service
asks to wait (429), the command waits. Orders come first, then flags.

exit codes:
  0  all images are in the ZIP
  1  the download was interrupted; run the same command again to resume it
  2  the command line or a setting is wrong
  3  the ZIP is valid, but some images are missing; they are listed
  4  the service refused the request; the message says why
130  Ctrl-C; run the same command again to resume it (143: SIGTERM, 129: SIGHUP)
With several orders, the highest one.
"""


def add_download(commands: Commands) -> None:
    download = commands.add_parser(
        "download",
        help="download orders' ZIPs from a running service",
        description="Download the ZIPs of orders from a running service, with progress.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    formats = get_args(Rendition.model_fields["format"].annotation)
    download.add_argument("orders", metavar="ORDER", nargs="+", help="an order's id, or the address of its page")
    download.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        help="file or folder for the ZIP, or - for standard output (default: this folder)",
    )
    add_service(download)
    download.add_argument("-q", "--quiet", action="store_true", help="say nothing but what went wrong")
    download.add_argument("--no-progress", action="store_true", help="no progress bars")
    download.add_argument("--json", action="store_true", dest="as_json", help="print a line of JSON for each ZIP")
    download.add_argument(
        "--format",
        choices=formats,
        help="image format (jpeg); avif and jxl need a newer AUTOENHANCE_API_VERSION at the service",
    )
    download.add_argument("--quality", type=int, metavar="1-90", help="image quality")
    download.add_argument("--max-width", type=int, metavar="PIXELS", help="width of the images, at most")
    download.add_argument("--scale", type=float, metavar="0-1", help="factor of width and height")
    download.add_argument("--full-size", action="store_true", help="full size instead of previews: SPENDS CREDITS")
    download.add_argument(
        "--max-credits",
        type=int,
        metavar="N",
        help="refuse to buy more images than this, a credit each; each ZIP counts by itself (several orders, parts)",
    )
    download.add_argument("--dev-mode", action="store_true", help="no credits, watermarked")
    download.add_argument(
        "--rendition",
        action="append",
        metavar="NAME",
        help="a rendition, of several a folder each; can be repeated: print and mls (full size: SPEND CREDITS), web, or"
        " NAME,KEY=VALUE,... such as flyer,max_width=1200",
    )
    download.add_argument(
        "--names", metavar="TEMPLATE", help="names of the files, made of {seq}, {name}, {order}, {image_id} and text"
    )
    download.add_argument(
        "--include",
        action="append",
        choices=("original", "manifest"),
        help="what else is in the ZIP: the unaltered photos, a _manifest.json; can be repeated",
    )
    download.add_argument("--image", action="append", metavar="ID", help="only this image; can be repeated")
    download.add_argument("--since", metavar="ARCHIVE", help="only what is not in this archive, by its id")
    download.add_argument(
        "--part", type=_part, metavar="N|all", help="part N of an order too large for one ZIP, or all of them"
    )
    download.add_argument(
        "--wait", type=float, metavar="SECONDS", help="wait this long for images that are still being enhanced"
    )
    download.add_argument("--together", action="store_true", help="all orders in one ZIP, a folder each")
    download.add_argument("--strict", action="store_true", help="download all images or none")
    download.set_defaults(run=_run)


def _part(text: str) -> str:
    if text == "all" or (text.isdecimal() and int(text) > 0):
        return text
    raise argparse.ArgumentTypeError(f"{text} is neither a number from 1 on nor all")


def _run(options: argparse.Namespace) -> int:
    orders = [read_order(order, options.url) for order in options.orders]
    query = given(
        format=options.format,
        quality=options.quality,
        max_width=options.max_width,
        scale=options.scale,
        preview=False if options.full_size else None,
        max_credits=options.max_credits,
        names=options.names,
        part=options.part,
        since=options.since,
        dev_mode=True if options.dev_mode else None,
        wait=True if options.wait is not None else None,
        wait_timeout=options.wait,
        on_failure="strict" if options.strict else None,
        image=options.image,
        rendition=options.rendition,
        include=options.include,
    )
    requests = [Request(service_of(options, url), order_id, query) for order_id, url in orders]
    talk = Talk.of(quiet=options.quiet, as_json=options.as_json, progress=not options.no_progress)
    return download([together(requests)] if options.together else requests, Output(options.output), talk)


def download(requests: Iterable[Request], output: Output, talk: Talk) -> int:
    """Download the archives, one after the other; returns the exit code that `download --help` explains.

    One that is refused does not end the others; an unreachable service does.
    """
    requests = list(requests)
    several = len(requests) > 1 or any(request.wants_all_parts for request in requests)
    if (wrong := output.problem(several=several)) is not None:
        talk.fail(wrong)
        return USAGE
    if talk.as_json and output.is_stdout:
        talk.fail("--json and -o - both write to standard output. Choose one.")
        return USAGE
    codes, names = [ALL], _Names()
    for request in requests:
        try:
            for each in _built(request, talk) if request.more else parts(request, talk):
                codes.append(_download(each, output, talk, names))
                if codes[-1] == BROKEN:
                    return max(codes)
        except Refused as refusal:
            codes.append(_refused(request, refusal, talk))
        except Interrupted as error:
            return max(*codes, _interrupted(request, str(error), talk))
        except KeyboardInterrupt:
            talk.fail(f"Interrupted. Run the same command again{_purpose(output)}.")
            return STOPPED
    return max(codes)


def _purpose(output: Output) -> str:
    return "" if output.is_stream else " to resume the download"


def _built(request: Request, talk: Talk) -> Iterator[Request]:
    """The request for the ZIP of several orders, once it is built."""
    yield replace(request, job=asyncio.run(build(request.service, request.orders, request.query, talk)))


class _Names:
    """File names in a folder: two orders of one name do not replace each other."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unused(self, name: str, folder: Path | None, orders: Sequence[str]) -> str:
        """The name, with a number if this run has used it, or an earlier one for other orders."""
        stem, dot, extension = name.rpartition(".")
        candidate, number = name, 1
        while candidate.casefold() in self._taken or (folder and is_of_others(folder / candidate, orders)):
            number += 1
            candidate = f"{stem} ({number}){dot}{extension}"
        self._taken.add(candidate.casefold())
        return candidate


def _download(request: Request, output: Output, talk: Talk, names: _Names) -> int:
    part: Partial | None = None
    try:
        with output.partial_file(request.partial_name) as path, only_run(path):
            part = Partial(path, request.identity)
            with Display(talk.console, visible=talk.progress) as display:
                fetched = asyncio.run(fetch(request, part, display, talk))
            contents = read_contents(path)
            size, archive_id = part.size, part.archive_id
            target = part.deliver(output, names.unused(fetched.name, output.folder, request.orders))
    except NothingNew:
        talk.say("Nothing is new since that archive.")
        nothing = {"file": None, "archive_id": None, "bytes": 0, "images": 0, "total": 0}
        talk.tell({**request.which, **nothing, "complete": True, "failures": []})
        return ALL
    except Refused as refusal:
        return _refused(request, refusal, talk)
    except (Interrupted, OSError) as error:
        reason = _os_error(error) if isinstance(error, OSError) else str(error)
        purpose = _purpose(output) if part is not None and part.size else ""
        return _interrupted(request, reason, talk, purpose)
    talk.tell(
        {
            **request.which,
            **({"part": int(request.query["part"])} if "part" in request.query else {}),
            "file": target and str(target),
            "archive_id": archive_id,
            "bytes": size,
            "images": contents.images,
            "total": fetched.total or contents.images,
            "complete": contents.report is None,
            "failures": list(fetched.failures),
            **({"missing_orders": request.missing_orders} if request.more else {}),
        }
    )
    return _summarise(contents, target, fetched.total, request, talk)


def _refused(request: Request, refusal: Refused, talk: Talk) -> int:
    talk.fail(str(refusal))
    talk.tell({**request.which, "error": {"code": refusal.code, "message": str(refusal)}})
    return REFUSED


def _interrupted(request: Request, reason: str, talk: Talk, purpose: str = "") -> int:
    talk.fail(f"{reason} Run the same command again{purpose}.")
    talk.tell({**request.which, "error": {"code": "interrupted", "message": reason}})
    return BROKEN


def _os_error(error: OSError) -> str:
    return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror or error}."


def _summarise(contents: Contents, target: Path | None, total: int | None, request: Request, talk: Talk) -> int:
    """Say what is in the ZIP and what is missing; returns the exit code."""
    label = "" if target is None else f"{target}: "
    orders = f", {missing} of {len(request.orders)} orders missing" if (missing := len(request.missing_orders)) else ""
    talk.say(f"{label}{contents.images} of {total or contents.images} images{orders}")
    if contents.report is None:
        return ALL
    report = in_flags(contents.report)
    talk.say(report.replace("\r\n", "\n"), style="yellow")
    if re.search(rf"\b{Reason.NOT_READY}: ", report):
        talk.say(STILL_ENHANCING, style="yellow")
    return PARTIAL
