"""Settings of a sandbox as a command line gives them."""

import pytest

from service.sandbox import SandboxConfig


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
