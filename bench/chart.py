"""Bar charts as one SVG, readable on a light and on a dark page."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

_COLUMNS = 2
_WIDTH = 440
_LEFT = 130
_RIGHT = 60
_ROW = 22
_BAR = 14
_HEAD = 54
_FOOT = 44
_TICKS = 3
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 14px; }
  .small { font-size: 11px; fill: #57606a; }
  .grid { stroke: #8c959f; stroke-opacity: 0.35; }
  .ours { fill: #0969da; }
  .other { fill: #8c959f; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9da7b3; }
    .ours { fill: #4493f8; }
    .other { fill: #7d8590; }
  }
"""


class Bar(NamedTuple):
    """One value with its name."""

    label: str
    value: float
    shown: str
    is_ours: bool


class Panel(NamedTuple):
    """Bars with one axis."""

    title: str
    unit: str
    bars: Sequence[Bar]


def svg(panels: Sequence[Panel]) -> str:
    """Return the panels as a picture, two beside each other."""
    parts, top = [], 0
    for first in range(0, len(panels), _COLUMNS):
        row = panels[first : first + _COLUMNS]
        for column, panel in enumerate(row):
            parts.append(f'<g transform="translate({column * _WIDTH} {top})">\n{_panel(panel)}\n</g>')
        top += _HEAD + _ROW * max(len(panel.bars) for panel in row) + _FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_COLUMNS * _WIDTH} {top}" role="img">',
            f"<style>{_STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel) -> str:
    highest = max(bar.value for bar in panel.bars)
    step = _step(highest)
    count = ceil(highest / step)
    scale = (_WIDTH - _LEFT - _RIGHT) / (step * count)
    bottom = _HEAD + _ROW * len(panel.bars)
    lines = [
        f'<text class="title" x="10" y="24">{escape(panel.title)}</text>',
        f'<text class="small" x="10" y="42">{escape(panel.unit)}</text>',
    ]
    for tick in range(count + 1):
        x = round(_LEFT + tick * step * scale, 1)
        lines.append(f'<line class="grid" x1="{x}" y1="{_HEAD}" x2="{x}" y2="{bottom}"/>')
        lines.append(f'<text class="small" x="{x}" y="{bottom + 15}" text-anchor="middle">{tick * step:,.10g}</text>')
    for number, bar in enumerate(panel.bars):
        y = _HEAD + number * _ROW + (_ROW - _BAR) / 2
        width = round(max(bar.value * scale, 1), 1)
        kind = "ours" if bar.is_ours else "other"
        lines += [
            f'<text x="{_LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" rx="2"/>',
            f'<text class="small" x="{round(_LEFT + width + 6, 1)}" y="{y + 11}">{escape(bar.shown)}</text>',
        ]
    return "\n".join(lines)


def _step(highest: float) -> float:
    """Return a round distance of ticks: 1, 2 or 5 times a power of ten."""
    rough = highest / _TICKS
    power: float = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
