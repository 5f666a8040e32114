"""The command line: serve, sandbox, demo, download, config."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from service import __version__
from service.upstream.models import Rendition

_EPILOG = """\
Settings are environment variables (AUTOENHANCE_API_KEY, PORT, DATA_DIR, ...), also read from .env; see the README.

examples:
  autoenhance-batch demo
  autoenhance-batch serve --port 8000
  autoenhance-batch download 6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11 -o house.zip
"""

_DOWNLOAD_EPILOG = """\
Interrupted downloads resume automatically, at once and when the command is run again: the partial file is kept as
FILE.part. The finished file is verified, then moved into place. A symbolic link is followed; standard output (-), a
device or a FIFO gets the ZIP once it is complete and verified.

exit codes:
  0  all images are in the ZIP
  1  the download was interrupted; run the same command again to resume it
  2  the command line or a setting is wrong
  3  the ZIP is valid, but some images are missing; they are listed
  4  the service refused the request; the message says why
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130


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
    _add_config(commands)
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
    demo.set_defaults(run=_demo)


def _add_download(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    download = commands.add_parser(
        "download",
        help="download an order's ZIP from a running service",
        description="Download an order's ZIP from a running service, with progress.",
        epilog=_DOWNLOAD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    formats = get_args(Rendition.model_fields["format"].annotation)
    download.add_argument("order_id", metavar="ORDER_ID")
    download.add_argument(
        "-o", "--output", metavar="PATH", help="file or folder for the ZIP, or - for standard output (here)"
    )
    download.add_argument("--url", default="http://127.0.0.1:8000", help="URL of the service (%(default)s)")
    download.add_argument("--api-key", help="API key of the service (SERVICE_API_KEY)")
    download.add_argument(
        "--format",
        choices=formats,
        help="image format (jpeg); avif and jxl need a newer AUTOENHANCE_API_VERSION at the service",
    )
    download.add_argument("--quality", type=int, metavar="1-90", help="image quality")
    download.add_argument("--max-width", type=int, metavar="PIXELS")
    download.add_argument("--scale", type=float, metavar="0-1")
    download.add_argument("--full-size", action="store_true", help="full size instead of previews: SPENDS CREDITS")
    download.add_argument(
        "--max-credits", type=int, metavar="N", help="refuse to buy more images than this, a credit each"
    )
    download.add_argument("--dev-mode", action="store_true", help="no credits, watermarked")
    download.add_argument("--image", action="append", metavar="ID", help="only this image; can be repeated")
    download.add_argument(
        "--wait", type=float, metavar="SECONDS", help="wait this long for images that are still being enhanced"
    )
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

    return demo(options.output)


def _download(options: argparse.Namespace) -> int:
    from service.commands.download import Request, download
    from service.commands.output import Output

    query = {
        "format": options.format,
        "quality": options.quality,
        "max_width": options.max_width,
        "scale": options.scale,
        "preview": "false" if options.full_size else None,
        "max_credits": options.max_credits,
        "dev_mode": "true" if options.dev_mode else None,
        "wait": "true" if options.wait is not None else None,
        "wait_timeout": options.wait,
        "on_failure": "strict" if options.strict else None,
    }
    pairs = [(name, str(value)) for name, value in query.items() if value is not None]
    pairs += [("image", image) for image in options.image or ()]
    return download(Request(options.url, options.order_id, tuple(pairs), options.api_key), Output(options.output))


def _config_check(_: argparse.Namespace) -> int:
    from service.commands.config import check

    return check()


def _config_example(_: argparse.Namespace) -> int:
    from service.commands.config import print_example

    return print_example()


if __name__ == "__main__":
    sys.exit(main())
