"""Settings of a sandbox as a command line gives them."""

import asyncio

import pytest
from yarl import URL

from service.sandbox import ImageSpec, SandboxConfig

from .conftest import StartSandbox


def test_text_becomes_what_each_setting_is() -> None:
    """Numbers, switches, choices and paths; what is left out keeps its default."""
    config = SandboxConfig.from_text(
        {"image_delay": "0.5", "same_name_per_hour": "30", "ranges": "false", "not_ready": "422", "etags": "weak"}
    )

    assert config == SandboxConfig(image_delay=0.5, same_name_per_hour=30, ranges=False, not_ready=422, etags="weak")


@pytest.mark.parametrize(
    ("name", "value"),
    [("image_delay", "soon"), ("same_name_per_hour", "1.5"), ("ranges", "perhaps"), ("etags", "some"), ("x", "1")],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    """With its setting."""
    with pytest.raises(ValueError, match=name):
        SandboxConfig.from_text({name: value})


async def test_hosts_have_the_names_that_are_set(start: StartSandbox) -> None:
    """That of the API in its base address, that of the assets in its redirects; both answer there."""
    caller = await start(public_host="localhost", asset_host="127.0.0.1")
    image = caller.control.add_order([ImageSpec()]).images[0]

    answer = await caller.call("GET", f"/images/{image.image_id}/enhanced")

    assert (URL(caller.sandbox.api_base).host, URL(answer.headers["Location"]).host) == ("localhost", "127.0.0.1")
    assert (await caller.fetch(f"/images/{image.image_id}/enhanced")).status == 200


async def test_calls_of_the_api_take_so_long(start: StartSandbox) -> None:
    """Downloads, which come from other hosts, do not."""
    caller = await start(api_latency=0.2)
    image = caller.control.add_order([ImageSpec()]).images[0]
    loop = asyncio.get_running_loop()

    began = loop.time()
    link = await caller.link(f"/images/{image.image_id}/enhanced")

    assert loop.time() - began >= 0.2
    caller.control.configure(api_latency=3600)
    async with caller.session.get(link) as response:
        assert response.status == 200


async def test_so_many_requests_are_remembered(start: StartSandbox) -> None:
    """The last ones; the counts are of all."""
    caller = await start(log_size=2)

    for number in range(3):
        await caller.call("GET", f"/orders/{number}")

    assert [entry.order_id for entry in caller.control.log] == ["1", "2"]
    assert caller.control.counters.requests["get_order"] == 3
