"""`share`: links to an order's photos for people without a key."""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urljoin

from aiohttp import ClientSession
from yarl import URL

from service.commands.answers import (
    Commands,
    add_asking,
    answered,
    ask,
    ask_with_retries,
    order_of,
    print_json,
    print_table,
    service_of,
)
from service.commands.client import Document, Service
from service.commands.talk import ALL, Talk

DAY_SECONDS = 86_400
MAX_DAYS = 30


def add_share(commands: Commands) -> None:
    share = commands.add_parser("share", help="create, list and revoke links for people without a key")
    actions = share.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser(
        "create",
        help="create a link to an order's photos, and print the address of its page",
        description="Create a link to an order's photos, and print the address of its page. Whoever has it sees the"
        " photos and downloads them, without a key, until it expires or is revoked.",
    )
    create.add_argument("order", metavar="ORDER", help="its id, or the address of its page")
    create.add_argument("--days", type=_days, default=7.0, metavar="1-30", help="how long it lasts (%(default)g)")
    create.add_argument(
        "--full-size", action="store_true", help="full size instead of previews: its downloads SPEND your CREDITS"
    )
    create.set_defaults(run=_create)
    found = actions.add_parser("list", help="list your links that still work")
    found.set_defaults(run=_find)
    revoke = actions.add_parser("revoke", help="end a link at once")
    revoke.add_argument("link_id", metavar="LINK_ID")
    revoke.set_defaults(run=_revoke)
    for action in (create, found, revoke):
        add_asking(action, administrators=True)


def _days(text: str) -> float:
    with suppress(ValueError):
        if 0 < (days := float(text)) <= MAX_DAYS:
            return days
    raise argparse.ArgumentTypeError(f"{text} is not a number of days, at most {MAX_DAYS}")


def _create(options: argparse.Namespace) -> int:
    service, order_id = order_of(options)
    path = URL(f"/v1/orders/{order_id}/images").with_query({"preview": "false"} if options.full_size else None)
    wanted = {"path": str(path), "expires_in": round(options.days * DAY_SECONDS)}
    return ask(options, service, "POST", "v1/links", lambda link: print(_whole(service, link["page"])), json=wanted)


def _find(options: argparse.Namespace) -> int:
    service = service_of(options)

    async def work(session: ClientSession) -> int:
        talk, links = Talk(as_json=options.as_json), list[Document]()
        query: Document | None = {"limit": 200}
        while query is not None:
            page = await ask_with_retries(service, session, "GET", "v1/links", talk=talk, params=query)
            links += page["items"]
            query = page["next_cursor"] and {**query, "cursor": page["next_cursor"]}
        print_json({"items": links, "next_cursor": None}) if options.as_json else _print_links(service, links)
        return ALL

    return answered(service, work)


def _print_links(service: Service, links: Sequence[Document]) -> None:
    print_table(
        ("LINK", "ORDER", "NAME", "PHOTOS", "EXPIRES", "PAGE"),
        (
            (
                *(link[name] for name in ("link_id", "order_id", "name", "total", "expires_at")),
                _whole(service, link["page"]),
            )
            for link in links
        ),
    )


def _revoke(options: argparse.Namespace) -> int:
    service, link_id = service_of(options), options.link_id

    async def work(session: ClientSession) -> int:
        await ask_with_retries(service, session, "DELETE", f"v1/links/{link_id}", talk=Talk(as_json=options.as_json))
        print_json({"link_id": link_id, "revoked": True}) if options.as_json else print(f"{link_id}: revoked")
        return ALL

    return answered(service, work)


def _whole(service: Service, reference: str) -> str:
    """An address of the service as others can open it."""
    return urljoin(service.url, reference)
