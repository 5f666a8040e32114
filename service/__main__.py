"""The command line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from service import __version__
from service.commands.arguments import add_jobs, add_report, add_service, add_share, add_show, add_upload, wrong_usage
from service.commands.client import Service, Usage, read_order
from service.upstream.models import Rendition

_EPILOG = """\
Settings are environment variables (AUTOENHANCE_API_KEY, PORT, DATA_DIR, ...), also read from .env.
`autoenhance-batch config example` lists them all.

examples:
  autoenhance-batch demo
  autoenhance-batch serve --port 8000
  autoenhance-batch download 6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11 -o house.zip
  autoenhance-batch show https://batch.example.com/?order=6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11
  autoenhance-batch jobs list --status processing
  eval "$(autoenhance-batch completion bash)"
"""

_DOWNLOAD_EPILOG = """\
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
130  Ctrl-C; run the same command again to resume it
With several orders, the highest one.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except Usage as error:
        return wrong_usage(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # of a reader that has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed into nothing
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autoenhance-batch",
        description="All enhanced images of an Autoenhance.ai order as one streamed ZIP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_sandbox(commands)
    _add_demo(commands)
    _add_download(commands)
    add_show(commands)
    add_jobs(commands)
    add_report(commands)
    add_share(commands)
    add_upload(commands)
    _add_config(commands)
    _add_completion(commands)
    return parser


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="run the service", description="Run the service until it is stopped.")
    serve.add_argument("--host", help="address to listen on (HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (PORT, 8000); 0 picks a free one")
    serve.add_argument("--data-dir", type=Path, help="where images are stored (DATA_DIR, ./data)")
    serve.add_argument(
        "--role", choices=("all", "web", "worker"), help="with SHARED_URL: answer requests, run jobs, or both (all)"
    )
    serve.set_defaults(run=_serve)


def _add_sandbox(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sandbox = commands.add_parser(
        "sandbox",
        help="run a stand-in for the Autoenhance API",
        description="Run a stand-in for the Autoenhance API, with a sample order in it."
        " With the extra 'sandbox' installed it renders pictures; without, it sends them unchanged.",
    )
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    sandbox.add_argument("--port", type=int, default=8001, help="port of the API (%(default)s)")
    sandbox.add_argument("--asset-port", type=int, default=8002, help="port of uploads and downloads (%(default)s)")
    sandbox.add_argument("--public-host", metavar="NAME", help="host name in the URLs it gives out (--host)")
    sandbox.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="how it behaves, such as same_name_per_hour=30; can be repeated; service/sandbox/config.py has the names",
    )
    sandbox.set_defaults(run=_sandbox)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = commands.add_parser(
        "demo",
        help="download a sample order; needs no settings",
        description="Start a sandbox and the service, upload sample photos, download their ZIP, and stop.",
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder for the ZIP (%(default)s)")
    demo.add_argument("--keep", action="store_true", help="leave the page open until Ctrl-C")
    demo.set_defaults(run=_demo)


def _add_download(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    download = commands.add_parser(
        "download",
        help="download orders' ZIPs from a running service",
        description="Download the ZIPs of orders from a running service, with progress.",
        epilog=_DOWNLOAD_EPILOG,
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
        "--max-credits", type=int, metavar="N", help="refuse to buy more images than this, a credit each"
    )
    download.add_argument("--dev-mode", action="store_true", help="no credits, watermarked")
    download.add_argument(
        "--rendition",
        action="append",
        metavar="NAME",
        help="several renditions, a folder each; can be repeated: print and mls (full size: SPEND CREDITS), web, or"
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
    download.set_defaults(run=_download)


def _add_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    config = commands.add_parser("config", help="check the settings, or print a .env file with all of them")
    actions = config.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="say what would start, and what looks wrong",
        description="Read the settings of the environment and .env as `serve` does, and say what would start and what"
        " looks wrong. Nothing is started or contacted. The exit code is 2 when `serve` would refuse the settings.",
    )
    check.set_defaults(run=_config_check)
    example = actions.add_parser(
        "example",
        help="print a .env file",
        description="Print a .env file with every setting, its meaning and its default, all commented out.",
    )
    example.set_defaults(run=_config_example)


def _add_completion(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    completion = commands.add_parser(
        "completion",
        help="print a completion script for bash, zsh or fish",
        description="Print a script that completes commands and flags. In ~/.bashrc, and in ~/.zshrc after compinit:"
        ' eval "$(autoenhance-batch completion bash)" (or zsh). For fish, save it as'
        " ~/.config/fish/completions/autoenhance-batch.fish.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_completion)


def _part(text: str) -> str:
    if text == "all" or (text.isdecimal() and int(text) > 0):
        return text
    raise argparse.ArgumentTypeError(f"{text} is neither a number from 1 on nor all")


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def _serve(options: argparse.Namespace) -> int:
    from service.commands.serve import serve

    given = {"host": options.host, "port": options.port, "data_dir": options.data_dir, "role": options.role}
    return serve({name: value for name, value in given.items() if value is not None})


def _sandbox(options: argparse.Namespace) -> int:
    from service.commands.sandbox import sandbox

    return sandbox(options.host, options.port, options.asset_port, options.public_host, dict(options.set))


def _demo(options: argparse.Namespace) -> int:
    from service.commands.demo import demo

    return demo(options.output, keep=options.keep)


def _download(options: argparse.Namespace) -> int:
    from service.commands.download import download
    from service.commands.output import Output
    from service.commands.request import Request, together
    from service.commands.talk import Talk

    orders = [read_order(order, options.url) for order in options.orders]
    query = {
        "format": options.format,
        "quality": options.quality,
        "max_width": options.max_width,
        "scale": options.scale,
        "preview": "false" if options.full_size else None,
        "max_credits": options.max_credits,
        "names": options.names,
        "part": options.part,
        "since": options.since,
        "dev_mode": "true" if options.dev_mode else None,
        "wait": "true" if options.wait is not None else None,
        "wait_timeout": options.wait,
        "on_failure": "strict" if options.strict else None,
    }
    pairs = [(name, str(value)) for name, value in query.items() if value is not None]
    pairs += [("image", image) for image in options.image or ()]
    pairs += [("rendition", rendition) for rendition in options.rendition or ()]
    pairs += [("include", more) for more in options.include or ()]
    requests = [Request(Service.of(url, options.api_key), order_id, tuple(pairs)) for order_id, url in orders]
    talk = Talk.of(quiet=options.quiet, as_json=options.as_json, progress=not options.no_progress)
    return download([together(requests)] if options.together else requests, Output(options.output), talk)


def _completion(options: argparse.Namespace) -> int:
    from service.commands.completion import completion

    return completion(_parser(), options.shell)


def _config_check(_: argparse.Namespace) -> int:
    from service.commands.config import check

    return check()


def _config_example(_: argparse.Namespace) -> int:
    from service.commands.config import print_example

    return print_example()


if __name__ == "__main__":
    sys.exit(main())
