"""What the pages of the documentation may load, and how long their files are kept. No service runs."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.api import docs
from service.api.keys import SETTINGS
from service.docs import library
from service.settings import Settings

SLUG = next(iter(library.pages()))


def asked(**match_info: str) -> web.Request:
    app = web.Application()
    app[SETTINGS] = Settings(_env_file=None)
    return make_mocked_request("GET", "/docs", app=app, match_info=match_info)


async def test_only_the_reference_asks_for_anything() -> None:
    """The guide is text; neither may be framed, nor told to whom it leads where its reader came from."""
    pages = [await docs.reference(asked()), await docs.guide(asked(page=SLUG))]

    policies = [page.headers["Content-Security-Policy"] for page in pages]
    assert ["connect-src 'self'" in policy for policy in policies] == [True, False]
    assert all("frame-ancestors 'none'" in policy and "default-src 'none'" in policy for policy in policies)
    assert {page.headers["Cross-Origin-Opener-Policy"] for page in pages} == {"same-origin"}
    assert {page.headers["Referrer-Policy"] for page in pages} == {"same-origin"}
    assert {page.headers["Cache-Control"] for page in pages} == {"no-cache"}


@pytest.mark.parametrize(
    ("version", "caching"), [(docs._VERSION, "public, max-age=31536000, immutable"), ("of-yesterday", "no-cache")]
)
async def test_a_file_is_kept_for_ever_by_its_own_address(version: str, caching: str) -> None:
    """Today's file at an older address is not that one."""
    assert (await docs.file(asked(version=version, name="docs.css"))).headers["Cache-Control"] == caching


@pytest.mark.parametrize("name", ["../page.html", "page.html", ""])
async def test_nothing_else_is_a_file_of_the_pages(name: str) -> None:
    """Wherever it is."""
    with pytest.raises(web.HTTPNotFound):
        await docs.file(asked(version=docs._VERSION, name=name))
    with pytest.raises(web.HTTPNotFound):
        await docs.guide(asked(page=name))
