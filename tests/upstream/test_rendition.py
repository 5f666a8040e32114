"""How an image is rendered: what is asked of upstream."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.upstream.models import Rendition


@pytest.mark.parametrize(
    ("rendition", "query"),
    [
        (Rendition(), {"format": "jpeg", "preview": "true"}),
        (Rendition(preview=False), {"format": "jpeg", "preview": "false"}),
        (Rendition(dev_mode=True), {"format": "jpeg", "preview": "true"}),
        (
            Rendition(format="avif", quality=90, max_width=1, scale=0.5),
            {"format": "avif", "preview": "true", "quality": "90", "max_width": "1", "scale": "0.5"},
        ),
        (Rendition(scale=0), {"format": "jpeg", "preview": "true", "scale": "0"}),
        (Rendition(scale=1), {"format": "jpeg", "preview": "true", "scale": "1"}),
    ],
    ids=lambda value: str(value),
)
def test_its_query(rendition: Rendition, query: dict[str, str]) -> None:
    """`preview` is always said, in lower case; what was not asked for is left to upstream."""
    assert rendition.query() == query


@given(scale=st.floats(0, 1))
def test_a_scale_stays_one(scale: float) -> None:
    """However small, it is sent as a number from 0 to 1."""
    sent = float(Rendition(scale=scale).query()["scale"])

    assert 0 <= sent <= 1
    assert sent == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize(
    ("preview", "dev_mode", "buys"),
    [(True, False, False), (True, True, False), (False, True, False), (False, False, True)],
)
def test_what_costs_a_credit(preview: bool, dev_mode: bool, buys: bool) -> None:
    """Full size outside of dev mode, and nothing else."""
    assert Rendition(preview=preview, dev_mode=dev_mode).buys is buys


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "jpg"}, {"format": "JPEG"}, {"quality": 0}, {"quality": 91}, {"max_width": 0}, {"scale": 1.01},
        {"scale": -0.1}, {"scale": float("nan")}, {"watermark": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_upstream_would_refuse_is_refused_here(fields: dict[str, Any]) -> None:
    """Values out of upstream's ranges, and options that do not exist."""
    with pytest.raises(ValidationError):
        Rendition(**fields)
