"""The flags of the commands that ask a running service, besides `download`."""

import argparse
from pathlib import Path
from typing import TypeAlias

from service.commands.client import Service, Usage, read_order
from service.commands.refusal import refuse
from service.commands.talk import USAGE

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

JOB_STATUSES = ("queued", "processing", "complete", "error", "cancelled")


def add_service(command: argparse.ArgumentParser, *, administrators: bool = False) -> None:
    """The flags that say where the service is, and who calls."""
    command.add_argument("--url", help="URL of the service (AUTOENHANCE_BATCH_URL, http://127.0.0.1:8000)")
    command.add_argument("--api-key", help="API key of the service (AUTOENHANCE_BATCH_KEY, SERVICE_API_KEY)")
    if administrators:
        command.add_argument(
            "--admin-token", help="token of its administrators (AUTOENHANCE_BATCH_ADMIN_TOKEN, ADMIN_TOKEN)"
        )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", dest="as_json", help="print JSON, for programs")


def add_show(commands: Commands) -> None:
    """`show`."""
    show = commands.add_parser("show", help="show the images of an order", description="Show the images of an order.")
    show.add_argument("order", metavar="ORDER", help="its id, or the address of its page")
    add_service(show)
    _add_json(show)
    show.set_defaults(run=_show)


def add_report(commands: Commands) -> None:
    """`report`."""
    report = commands.add_parser(
        "report",
        help="show the outcome of each image of an archive",
        description="Show the outcome of each image of an archive. The exit code is 3 when some are missing.",
    )
    report.add_argument("archive_id", metavar="ARCHIVE_ID", help="X-Archive-Id of a download, archive_id of a job")
    add_service(report)
    _add_json(report)
    report.set_defaults(run=_report)


def add_upload(commands: Commands) -> None:
    """`upload`."""
    upload = commands.add_parser(
        "upload",
        help="create an order from photos; for administrators",
        description="Create an order from photos (JPEG, PNG, WebP; at most 20 MB each) and print its id."
        " The exit code is 3 when some could not be uploaded.",
    )
    upload.add_argument("files", metavar="FILE", type=Path, nargs="+")
    upload.add_argument("--name", help="name of the order")
    add_service(upload, administrators=True)
    _add_json(upload)
    upload.set_defaults(run=_upload)


def add_jobs(commands: Commands) -> None:
    """`jobs`."""
    jobs = commands.add_parser("jobs", help="start, list, follow and cancel background jobs")
    actions = jobs.add_subparsers(required=True, metavar="ACTION")
    start = actions.add_parser("start", help="build an order's ZIP in the background, and print the job's id")
    start.add_argument(
        "orders",
        metavar="ORDER",
        nargs="+",
        help="its id, or the address of its page; several: one ZIP, a folder each",
    )
    start.add_argument("--full-size", action="store_true", help="full size instead of previews: SPENDS CREDITS")
    start.add_argument(
        "--max-credits", type=int, metavar="N", help="refuse to buy more images than this, a credit each"
    )
    start.add_argument("--wait", type=float, metavar="SECONDS", help="wait for images that are still being enhanced")
    start.set_defaults(run=_start)
    found = actions.add_parser("list", help="list your jobs, newest first")
    found.add_argument("--status", choices=JOB_STATUSES, help="only jobs in this state")
    found.add_argument("--order", metavar="ORDER", help="only jobs of this order")
    found.add_argument("--limit", type=int, metavar="1-200", help="at most so many (50)")
    found.set_defaults(run=_find)
    follow = actions.add_parser(
        "follow",
        help="print a job's changes until it ends",
        description="Print a job's changes until it ends."
        " The exit code is 3 when images are missing, 4 when it failed or was cancelled.",
    )
    cancel = actions.add_parser("cancel", help="cancel a job")
    for action, run in ((follow, _follow), (cancel, _cancel)):
        action.add_argument("job_id", metavar="JOB_ID")
        action.set_defaults(run=run)
    for action in (start, found, follow, cancel):
        add_service(action, administrators=True)
        _add_json(action)


def add_share(commands: Commands) -> None:
    """`share`."""
    share = commands.add_parser("share", help="create, list and revoke links for people without a key")
    actions = share.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="create a link to an order's photos, and print the address of its page",
        description="Create a link to an order's photos, and print the address of its page. Whoever has it sees the"
        " photos and downloads them, without a key, until it expires or is revoked.",
    )
    create.add_argument("order", metavar="ORDER", help="its id, or the address of its page")
    create.add_argument("--days", type=float, default=7.0, metavar="1-30", help="how long it lasts (%(default)g)")
    create.add_argument(
        "--full-size", action="store_true", help="full size instead of previews: its downloads SPEND your CREDITS"
    )
    create.set_defaults(run=_share)
    found = actions.add_parser("list", help="list your links that still work")
    found.set_defaults(run=_shared)
    revoke = actions.add_parser("revoke", help="end a link at once")
    revoke.add_argument("link_id", metavar="LINK_ID")
    revoke.set_defaults(run=_revoke)
    for action in (create, found, revoke):
        add_service(action, administrators=True)
        _add_json(action)


def _share(options: argparse.Namespace) -> int:
    from service.commands.share import create

    service, order_id = _order(options)
    query = (("preview", "false"),) if options.full_size else ()
    return create(service, order_id, query, options.days, as_json=options.as_json)


def _shared(options: argparse.Namespace) -> int:
    from service.commands.share import find

    return find(_service(options), as_json=options.as_json)


def _revoke(options: argparse.Namespace) -> int:
    from service.commands.share import revoke

    return revoke(_service(options), options.link_id, as_json=options.as_json)


def _service(options: argparse.Namespace) -> Service:
    return Service.of(options.url, options.api_key, getattr(options, "admin_token", None))


def _order(options: argparse.Namespace) -> tuple[Service, str]:
    order_id, url = read_order(options.order, options.url)
    return Service.of(url, options.api_key, getattr(options, "admin_token", None)), order_id


def _show(options: argparse.Namespace) -> int:
    from service.commands.show import show

    service, order_id = _order(options)
    return show(service, order_id, as_json=options.as_json)


def _report(options: argparse.Namespace) -> int:
    from service.commands.show import report

    return report(_service(options), options.archive_id, as_json=options.as_json)


def _upload(options: argparse.Namespace) -> int:
    from service.commands.upload import upload

    return upload(_service(options), options.files, options.name, as_json=options.as_json)


def _start(options: argparse.Namespace) -> int:
    from service.commands.jobs import start

    orders = [read_order(order, options.url) for order in options.orders]
    query = {
        "preview": "false" if options.full_size else None,
        "max_credits": options.max_credits,
        "wait": "true" if options.wait is not None else None,
        "wait_timeout": options.wait,
    }
    pairs = tuple((name, str(value)) for name, value in query.items() if value is not None)
    (url, *others) = dict.fromkeys(url for _, url in orders)
    if others:
        raise Usage("The orders are at different services.")
    order_ids = list(dict.fromkeys(order_id for order_id, _ in orders))
    service = Service.of(url, options.api_key, options.admin_token)
    return start(service, order_ids, pairs, as_json=options.as_json)


def _find(options: argparse.Namespace) -> int:
    from service.commands.jobs import find

    url, query = options.url, {"status": options.status, "limit": options.limit}
    if options.order is not None:
        query["order_id"], url = read_order(options.order, url)
    pairs = tuple((name, str(value)) for name, value in query.items() if value is not None)
    return find(Service.of(url, options.api_key, options.admin_token), pairs, as_json=options.as_json)


def _follow(options: argparse.Namespace) -> int:
    from service.commands.jobs import follow

    return follow(_service(options), options.job_id, as_json=options.as_json)


def _cancel(options: argparse.Namespace) -> int:
    from service.commands.jobs import cancel

    return cancel(_service(options), options.job_id, as_json=options.as_json)


def wrong_usage(error: Usage) -> int:
    """Say what is wrong with a command; returns its exit code."""
    return refuse(error, code=USAGE)
