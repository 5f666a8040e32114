"""`share`: links for people without a key."""

import json
from typing import Any

import pytest

from service.__main__ import main
from service.commands.client import Service

PAGES = {None: (["a", "b"], "b"), "b": (["c"], None)}
"""Of the list, by cursor: links, and the next cursor."""


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_links_are_listed_to_the_last_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    """Whoever is to revoke one has to find it."""

    async def ask(self: Service, session: object, method: str, path: str, *, params: Any) -> object:
        ids, following = PAGES[params.get("cursor")]
        names = ("order_id", "name", "total", "expires_at", "page")
        return {"items": [{"link_id": each, **dict.fromkeys(names, "")} for each in ids], "next_cursor": following}

    monkeypatch.setattr(Service, "ask", ask)

    assert main(["share", "list", *flags]) == 0
    output = capsys.readouterr().out
    listed = [link["link_id"] for link in json.loads(output)["items"]] if flags else output.split()[6:]
    assert [each for each in listed if len(each) == 1] == ["a", "b", "c"]
