"""`show` and `report`: what an order holds, and what became of an archive."""

import argparse

from service.commands.answers import Commands, add_asking, ask, order_of, print_table, service_of
from service.commands.client import Document, in_flags
from service.commands.talk import ALL, PARTIAL
from service.text import one_line


def add_show(commands: Commands) -> None:
    show = commands.add_parser("show", help="show the images of an order", description="Show the images of an order.")
    show.add_argument("order", metavar="ORDER", help="its id, or the address of its page")
    add_asking(show)
    show.set_defaults(run=_show)


def add_report(commands: Commands) -> None:
    report = commands.add_parser(
        "report",
        help="show the outcome of each image of an archive",
        description="Show the outcome of each image of an archive. The exit code is 3 when some are missing.",
    )
    report.add_argument("archive_id", metavar="ARCHIVE_ID", help="X-Archive-Id of a download, archive_id of a job")
    add_asking(report)
    report.set_defaults(run=_report)


def _show(options: argparse.Namespace) -> int:
    service, order_id = order_of(options)
    return ask(options, service, "GET", f"v1/orders/{order_id}", _print_overview)


def _report(options: argparse.Namespace) -> int:
    def exit_code(found: Document) -> int:
        return PARTIAL if found["failed"] or any(order["code"] for order in found["orders"]) else ALL

    path = f"v1/archives/{options.archive_id}/report"
    return ask(options, service_of(options), "GET", path, _print_report, exit_code)


def _print_overview(overview: Document) -> None:
    title = one_line(overview.get("name") or overview["order_id"])
    print(f"{title}: {overview['total']} images, {_counts(overview)}")
    if (parts := len(overview["parts"])) > 1:
        print(f"It needs {parts} ZIPs: download it with --part all, or with --part 1 to --part {parts}.")
    print_table(
        ("IMAGE", "NAME", "FILE", "STATUS", "BYTES"),
        (
            (image["image_id"], image["name"], image["file_name"], image["status"], image["bytes"])
            for image in overview["images"]
        ),
    )
    for failure in overview["failures"]:
        _print_failure(failure)


def _counts(overview: Document) -> str:
    counts = ("ready", "processing", "failed")
    return ", ".join(f"{overview[name]} {name}" for name in counts if overview[name]) or "none ready"


def _print_report(found: Document) -> None:
    ids = [order["order_id"] for order in found["orders"]]
    print(f"Archive {found['archive_id']} of order{'s' * (len(ids) > 1)} {', '.join(ids)}: {found['status']}")
    print_table(
        ("IMAGE", "NAME", "FILE", "BYTES", "OUTCOME", "REASON"),
        (
            (
                image["image_id"],
                image["original_name"],
                image["name"],
                image["bytes"],
                image["outcome"],
                image["code"],
            )
            for image in found["images"]
        ),
    )
    for order in found["orders"]:
        if order["code"]:
            print(f"{order['order_id']}: {in_flags(order['reason'])} ({order['code']})")
    for failure in found["failures"]:
        _print_failure(failure)


def _print_failure(failure: Document) -> None:
    print(f"{one_line(failure['name'])}: {in_flags(failure['reason'])} ({failure['code']})")
