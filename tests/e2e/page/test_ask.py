"""The help box: answers that are written while they arrive, and are never anything but text."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import expect

from tests.e2e.page.conftest import Visit
from tests.support.client import StartService

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKUP = "<img src=x onerror=\"document.title='taken over'\"><b>bold</b>"


async def test_a_question_is_answered_with_passages_and_their_pages(visit: Visit) -> None:
    """The docs' own words, each with a link to where they stand; one is shown, the others are a click away."""
    visitor = await visit()
    await visitor.open()

    await visitor.page.get_by_label("A question about this service").fill("Why are photos missing from my ZIP?")
    await visitor.page.keyboard.press("Enter")

    passages = visitor.page.get_by_role("list", name="From the documentation")
    await expect(passages.get_by_role("link", name="Why is a photo missing?")).to_be_visible()
    await expect(passages.get_by_role("listitem")).to_have_count(1)
    assert await passages.get_by_role("link").get_attribute("href") is not None
    others = visitor.page.get_by_role("list", name="More from the documentation")
    await expect(others).to_be_hidden()
    await visitor.page.get_by_text("More from the docs").click()
    await expect(others.get_by_role("listitem")).to_have_count(2)
    assert await visitor.axe() == []


async def test_a_question_about_now_is_answered_with_numbers(visit: Visit) -> None:
    """Live counters are part of the answer."""
    visitor = await visit()
    await visitor.open()

    await visitor.page.get_by_label("A question about this service").fill("How many images have you processed?")
    await visitor.page.get_by_role("button", name="Ask").click()

    await expect(visitor.page.locator("#answer-text")).to_contain_text("0")


async def test_a_models_markup_stays_text(visit: Visit, start_site: StartService) -> None:
    """Whatever a chat server says is shown as it is written, and runs nothing."""

    async def complete(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        delta = {"choices": [{"delta": {"content": MARKUP}}]}
        await response.write(f"data: {web.json_response(delta).text}\n\ndata: [DONE]\n\n".encode())
        return response

    server = web.Application()
    server.add_routes([web.post("/v1/chat/completions", complete)])
    async with TestServer(server) as model:
        service = await start_site(assistant_base_url=str(model.make_url("/v1")), assistant_model="any")
        visitor = await visit(service)
        await visitor.open()

        await visitor.page.get_by_label("A question about this service").fill("Who are you?")
        await visitor.page.keyboard.press("Enter")

        await expect(visitor.page.locator("#answer-text")).to_have_text(MARKUP)
        await expect(visitor.page).to_have_title("Autoenhance Batch")
        assert await visitor.page.locator("#answer-text *").count() == 0
