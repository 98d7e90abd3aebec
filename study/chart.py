"""Medians with their intervals, side by side, as one SVG, readable on a light and on a dark page."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_COLUMNS = 2
_WIDTH = 440
_LEFT = 158
_RIGHT = 18
_ROW = 24
_HEAD = 54
_FOOT = 44
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 14px; }
  .small { font-size: 11px; fill: #57606a; }
  .grid { stroke: #8c959f; stroke-opacity: 0.35; }
  .zero { stroke: #57606a; }
  .projected { fill: #bf8700; fill-opacity: 0.28; }
  .interval { stroke: #0969da; stroke-width: 2.5; stroke-linecap: round; }
  .median { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9da7b3; }
    .zero { stroke: #9da7b3; }
    .interval { stroke: #4493f8; }
    .median { fill: #4493f8; }
  }
"""


class Row(NamedTuple):
    """A median and its interval."""

    label: str
    median: float
    low: float
    high: float


class Axis(NamedTuple):
    """What is shown; an interval that goes on beyond has an arrow."""

    low: float
    high: float
    step: float


class Panel(NamedTuple):
    """Rows with one axis."""

    title: str
    unit: str
    axis: Axis
    projected: tuple[float, float] | None
    rows: Sequence[Row]


def svg(panels: Sequence[Panel]) -> str:
    """Return the panels as a picture, two beside each other."""
    parts, top = [], 0
    for first in range(0, len(panels), _COLUMNS):
        row = panels[first : first + _COLUMNS]
        for column, panel in enumerate(row):
            parts.append(f'<g transform="translate({column * _WIDTH} {top})">\n{_panel(panel)}\n</g>')
        top += _HEAD + _ROW * max(len(panel.rows) for panel in row) + _FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_COLUMNS * _WIDTH} {top}" role="img">',
            f"<style>{_STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel) -> str:
    axis, bottom = panel.axis, _HEAD + _ROW * len(panel.rows)
    lines = [
        f'<text class="title" x="10" y="24">{escape(panel.title)}</text>',
        f'<text class="small" x="10" y="42">{escape(panel.unit)}</text>',
    ]
    if panel.projected is not None:
        left, right = (_x(axis, value) for value in panel.projected)
        left, width = (left, right - left) if right > left else (left - 2, 4)
        lines.append(
            f'<rect class="projected" x="{left:.1f}" y="{_HEAD}" width="{width:.1f}" height="{bottom - _HEAD}"/>'
        )
    ticks = round((axis.high - axis.low) / axis.step)
    for tick in range(ticks + 1):
        value = round(axis.low + tick * axis.step, 9)
        x = f"{_x(axis, value):.1f}"
        kind = "zero" if abs(value) < axis.step / 2 else "grid"
        lines.append(f'<line class="{kind}" x1="{x}" y1="{_HEAD}" x2="{x}" y2="{bottom}"/>')
        lines.append(f'<text class="small" x="{x}" y="{bottom + 15}" text-anchor="middle">{value:.10g}</text>')
    for number, row in enumerate(panel.rows):
        lines += _row(axis, row, _HEAD + number * _ROW + _ROW / 2)
    return "\n".join(lines)


def _row(axis: Axis, row: Row, y: float) -> list[str]:
    left, right, middle = (_x(axis, value) for value in (row.low, row.high, row.median))
    lines = [
        f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(row.label)}</text>',
        f'<line class="interval" x1="{left:.1f}" y1="{y}" x2="{right:.1f}" y2="{y}"/>',
    ]
    for value, x, tip in ((row.low, left, -6), (row.high, right, 6)):
        if not axis.low <= value <= axis.high:
            lines.append(f'<path class="median" d="M{x + tip:.1f} {y} l{-tip} -4 v8 z"/>')
    if axis.low <= row.median <= axis.high:
        lines.append(f'<circle class="median" cx="{middle:.1f}" cy="{y}" r="4.5"/>')
    return lines


def _x(axis: Axis, value: float) -> float:
    """Return the place of a value; what lies beyond the axis stands at its end."""
    share = (min(max(value, axis.low), axis.high) - axis.low) / (axis.high - axis.low)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)
