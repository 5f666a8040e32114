"""The command line."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service import __version__
from service.commands.answers import Commands
from service.commands.client import Usage
from service.commands.download import add_download
from service.commands.jobs import add_jobs
from service.commands.refusal import refuse
from service.commands.share import add_share
from service.commands.show import add_report, add_show
from service.commands.stopping import like_ctrl_c
from service.commands.talk import STOPPED, USAGE, forget
from service.commands.upload import add_upload

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if sys.stdout is None:  # who started it has closed it
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may have letters that its encoding does not have
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run in (_serve, _sandbox):  # which take signals themselves
        return _ended(options)
    with like_ctrl_c() as stop:
        return stop.exit_code(_ended(options))


def _ended(options: argparse.Namespace) -> int:
    """The exit code of the command that was parsed."""
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except Usage as error:
        return refuse(error, code=USAGE)
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:  # of a reader that has seen enough
        forget(sys.stdout)
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        forget(sys.stdout)
        return refuse(f"The output could not be written: {error.strerror}.")


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
    add_download(commands)
    add_show(commands)
    add_jobs(commands)
    add_report(commands)
    add_share(commands)
    add_upload(commands)
    _add_config(commands)
    _add_completion(commands)
    return parser


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser("serve", help="run the service", description="Run the service until it is stopped.")
    serve.add_argument("--host", help="address to listen on (HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (PORT, 8000); 0 picks a free one")
    serve.add_argument("--data-dir", type=Path, help="where images are stored (DATA_DIR, ./data)")
    serve.add_argument(
        "--role", choices=("all", "web", "worker"), help="with SHARED_URL: answer requests, run jobs, or both (all)"
    )
    serve.set_defaults(run=_serve)


def _add_sandbox(commands: Commands) -> None:
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
        help="how it behaves, such as same_name_per_hour=30; can be repeated; a wrong NAME lists them all",
    )
    sandbox.set_defaults(run=_sandbox)


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="download a sample order; needs no settings",
        description="Start a sandbox and the service, upload sample photos, download their ZIP, and stop.",
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder for the ZIP (%(default)s)")
    demo.add_argument("--keep", action="store_true", help="leave the page open until Ctrl-C")
    demo.set_defaults(run=_demo)


def _add_config(commands: Commands) -> None:
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


def _add_completion(commands: Commands) -> None:
    completion = commands.add_parser(
        "completion",
        help="print a completion script for bash, zsh or fish",
        description="Print a script that completes commands and flags. In ~/.bashrc, and in ~/.zshrc after compinit:"
        ' eval "$(autoenhance-batch completion bash)" (or zsh). For fish, save it as'
        " ~/.config/fish/completions/autoenhance-batch.fish.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_completion)


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
