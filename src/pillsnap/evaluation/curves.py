"""Small line charts as inline SVG: for reports that open from disk, without a network."""

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 300, 220, 44, 34, 10, 10


def chart(
    points: Sequence[Point], across: str, up: str, diagonal: bool = False, low: float = 0.0
) -> str:
    """A line through points in 0..1 x low..1, with its axes named; `diagonal` adds y = x."""
    if not points:
        return '<p class="cure">Nothing to draw.</p>'
    path = " ".join(f"{_x(x):.1f},{_y(y, low):.1f}" for x, y in points)
    marks = "".join(
        f'<circle cx="{_x(x):.1f}" cy="{_y(y, low):.1f}" r="2.5"><title>'
        f"{escape(across)} {x:.3f}, {escape(up)} {y:.3f}</title></circle>"
        for x, y in points
    )
    even = (
        f'<line class="even" x1="{_x(low)}" y1="{_y(low, low)}" x2="{_x(1)}" y2="{_y(1, low)}"/>'
        if diagonal
        else ""
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(up)} against '
        f'{escape(across)}">{_axes(across, up, low)}{even}'
        f'<polyline points="{path}"/>{marks}</svg>'
    )


def _axes(across: str, up: str, low: float) -> str:
    lines = []
    for step in range(6):
        part = step / 5
        value = low + part * (1 - low)
        y, x = _y(value, low), _x(part)
        lines.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.2g}</text>')
        lines.append(f'<text x="{x}" y="{HEIGHT - 18}" text-anchor="middle">{part:.1g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    half = (HEIGHT - BOTTOM + TOP) / 2
    lines.append(
        f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(across)}</text>'
    )
    turn = f'transform="rotate(-90 10 {half})"'
    lines.append(f'<text x="10" y="{half}" text-anchor="middle" {turn}>{escape(up)}</text>')
    return "".join(lines)


def _x(value: float) -> float:
    return round(LEFT + value * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, low: float) -> float:
    part = (value - low) / (1 - low)
    return round(HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP), 1)
