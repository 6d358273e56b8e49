"""Draws a picture: throughput of hits, and latencies while a page expires."""

import math
import statistics
from html import escape

from report import NAMES, Figures, quartiles

STYLE = """
svg { --ink: #24292f; --quiet: #57606a; --line: #d0d7de }
svg { --card: #fff; --ours: #0969da; --other: #8c959f }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --quiet: #9198a1; --line: #30363d }
  svg { --card: #0d1117; --ours: #4493f8; --other: #767e87 }
}
text { font: 13px system-ui, sans-serif; fill: var(--ink) }
.title { font-weight: 600; font-size: 15px }
.quiet { fill: var(--quiet); font-size: 12px }
.card { fill: var(--card); stroke: var(--line) }
.grid { stroke: var(--line) }
.spread { stroke: var(--ink) }
rect.ours { fill: var(--ours) }
rect.other { fill: var(--other) }
path { fill: none; stroke-width: 2.5 }
path.ours { stroke: var(--ours) }
path.other { stroke: var(--other) }
"""
BARS = ("raw", "ours", "bare", "SimpleCache", "RedisCache", "defaults")
WIDTH, HEIGHT = 960, 330
#: The end of the curves' axis of shares, on which 1 is 90%, 2 is 99%.
NINES = 3.3


def draw(figures: Figures, latencies: dict[str, list[float]]) -> str:
    """Return the SVG; latencies are in milliseconds."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Throughput of page hits, and latencies while a page expires</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="8"/>',
        *bars(figures["page hit"]),
        *curves(latencies),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Write words."""
    at = f'x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}"'
    return f"<text {at}>{escape(words, quote=False)}</text>"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Draw a straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def bars(runs: dict[str, list[float]]) -> list[str]:
    """Draw a bar for each server, and its spread."""
    scale = 290 / max(quartiles(runs[subject])[1] for subject in BARS)
    parts = [text(24, 34, "Page hits, requests/s", "title")]
    for place, subject in enumerate(BARS):
        y, middle = 58 + 42 * place, statistics.median(runs[subject])
        low, high = (24 + scale * bound for bound in quartiles(runs[subject]))
        kind = "ours" if subject == "ours" else "other"
        parts += [
            text(24, y + 10, NAMES[subject]),
            f'<rect class="{kind}" x="24" y="{y + 16}" width="{middle * scale:.1f}" height="10"/>',
            line(low, y + 21, high, y + 21, "spread"),
            text(high + 12, y + 26, f"{middle:,.0f}", "quiet"),
        ]
    return [
        *parts,
        text(24, HEIGHT - 12, "one worker, 8 connections; median and quartiles", "quiet"),
    ]


def curves(latencies: dict[str, list[float]]) -> list[str]:
    """Draw which share of the requests was answered within which time, both axes logarithmic."""
    left, right, top, bottom = 500, 930, 58, 270
    decades = range(-1, math.ceil(math.log10(max(map(max, latencies.values())))) + 1)

    def x(nines: float) -> float:
        return left + (right - left) * nines / NINES

    def y(milliseconds: float) -> float:
        height = (math.log10(max(milliseconds, 0.1)) + 1) / (len(decades) - 1)
        return bottom - (bottom - top) * height

    parts = [text(430, 34, "Latency of a page that expires each second, ms", "title")]
    for decade in decades:
        parts.append(line(left, y(10.0**decade), right, y(10.0**decade), "grid"))
        parts.append(text(left - 8, y(10.0**decade) + 4, f"{10.0**decade:g}", "quiet", "end"))
    for share in (0.0, 0.5, 0.9, 0.99, 0.999):
        words, place = f"{share * 100:g}%", x(-math.log10(1 - share))
        parts.append(text(place, bottom + 18, words, "quiet", "middle"))
    for subject, values in latencies.items():
        ordered, kind = sorted(values), "ours" if subject == "ours" else "other"
        points = []
        for step in range(0, round(NINES * 100), 2):
            value = ordered[int((1 - 10 ** (-step / 100)) * len(ordered))]
            points.append(f"{x(step / 100):.1f},{y(value):.1f}")
        parts.append(f'<path class="{kind}" d="M{" L".join(points)}"/>')
        parts.append(text(right, y(value) - 8, NAMES[subject], "", "end"))
    return [*parts, text(430, HEIGHT - 12, "share of the requests answered within it", "quiet")]
