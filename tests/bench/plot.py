"""Bars as an SVG that is readable on a light and on a dark page."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _VALUES = 860, 400, 110
_ROW, _TOP = 24, 44
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #2f81c7 } .over { fill: #c4572b }
.mark { stroke: #24292f; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .mark { stroke: #e6edf3 } }
"""


@dataclass(frozen=True)
class Bar:
    """One line: a label, a bar of this length, and the text behind it."""

    label: str
    length: float
    text: str


def bars(title: str, rows: Sequence[Bar], mark: float | None = None) -> str:
    """A plot of horizontal bars from 0; with `mark`, a line at that length, and bars beyond it in another colour."""
    room = _WIDTH - _LABELS - _VALUES
    scale = room / max([row.length for row in rows] + [mark or 0])
    height = _TOP + _ROW * len(rows) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="8" y="24">{escape(title)}</text>',
    ]
    for at, row in enumerate(rows):
        y, width = _TOP + at * _ROW, max(row.length * scale, 1)
        end = _LABELS + max(width, (mark or 0) * scale)
        kind = "over" if mark is not None and row.length > mark else "bar"
        lines += [
            f'<text x="{_LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect class="{kind}" x="{_LABELS}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 8}" rx="2"/>',
            f'<text x="{end + 6:.1f}" y="{y + 14}">{escape(row.text)}</text>',
        ]
    if mark is not None:
        x = _LABELS + mark * scale
        lines.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 8}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"
