"""`share`: links to an order's photos for people without a key."""

from urllib.parse import urljoin

from aiohttp import ClientSession
from yarl import URL

from service.commands.answers import answered, ask_with_retries, print_json, print_table
from service.commands.client import Service
from service.commands.talk import ALL

DAY_SECONDS = 86_400


def create(service: Service, order_id: str, query: tuple[tuple[str, str], ...], days: float, *, as_json: bool) -> int:
    """Make a link and print the address of its page."""
    path = str(URL(f"/v1/orders/{order_id}/images").with_query(list(query)))
    wanted = {"path": path, "expires_in": round(days * DAY_SECONDS)}

    async def work(session: ClientSession) -> int:
        link = await ask_with_retries(service, session, "POST", "v1/links", json=wanted)
        print_json(link) if as_json else print(_whole(service, link["page"]))
        return ALL

    return answered(service, work)


def find(service: Service, *, as_json: bool) -> int:
    """Print the caller's links that still work."""

    async def work(session: ClientSession) -> int:
        found = await ask_with_retries(service, session, "GET", "v1/links", params={"limit": "200"})
        if as_json:
            print_json(found)
        else:
            print_table(
                ("LINK", "ORDER", "NAME", "PHOTOS", "EXPIRES", "PAGE"),
                (
                    (
                        link["link_id"],
                        link["order_id"],
                        link["name"],
                        link["total"],
                        link["expires_at"],
                        _whole(service, link["page"]),
                    )
                    for link in found["items"]
                ),
            )
        return ALL

    return answered(service, work)


def revoke(service: Service, link_id: str, *, as_json: bool) -> int:
    """End a link at once."""

    async def work(session: ClientSession) -> int:
        await ask_with_retries(service, session, "DELETE", f"v1/links/{link_id}")
        print_json({"link_id": link_id, "revoked": True}) if as_json else print(f"{link_id}: revoked")
        return ALL

    return answered(service, work)


def _whole(service: Service, reference: str) -> str:
    """An address of the service as others can open it."""
    return urljoin(service.url, reference)
