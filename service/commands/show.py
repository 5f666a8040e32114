"""`show` and `report`: what an order holds, and what became of an archive."""

from aiohttp import ClientSession

from service.commands.answers import answered, ask_with_retries, print_json, print_table
from service.commands.client import Document, Service, in_flags
from service.commands.talk import ALL, PARTIAL


def show(service: Service, order_id: str, *, as_json: bool) -> int:
    """Print what a download of the order would hold."""

    async def work(session: ClientSession) -> int:
        overview = await ask_with_retries(service, session, "GET", f"v1/orders/{order_id}")
        print_json(overview) if as_json else _print_overview(overview)
        return ALL

    return answered(service, work)


def report(service: Service, archive_id: str, *, as_json: bool) -> int:
    """Print what became of each image of an archive; exit code 3 when some are missing."""

    async def work(session: ClientSession) -> int:
        found = await ask_with_retries(service, session, "GET", f"v1/archives/{archive_id}/report")
        print_json(found) if as_json else _print_report(found)
        return PARTIAL if found["failed"] or any(order["code"] for order in found["orders"]) else ALL

    return answered(service, work)


def _print_overview(overview: Document) -> None:
    print(f"{overview.get('name') or overview['order_id']}: {overview['total']} images, {_counts(overview)}")
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
        print(f"{failure['name']}: {in_flags(failure['reason'])} ({failure['code']})")


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
        print(f"{failure['name']}: {in_flags(failure['reason'])} ({failure['code']})")
