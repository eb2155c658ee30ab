"""The small pictures of a quantization report as HTML and SVG: colours and sizes are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from edgegru.value_histograms import Histogram

_WIDTH, _HEIGHT, _BASE = 240, 112, 92  # of a histogram; where its bars stand
_LEFT, _RIGHT, _TOP = 14, 226, 6


def histogram_figure(histogram: Histogram, title: str, note: str, text: str) -> str:
    """Counts on a logarithmic axis as a figure; the range is marked by dashed lines, its end called ``text``."""
    counts = np.log10(1 + histogram.counts)
    tops = _BASE - counts / np.max(counts) * (_BASE - _TOP)
    rights = np.linspace(_LEFT, _RIGHT, len(counts) + 1)[1:]
    steps = "".join(f"V{top:.1f}H{right:.1f}" for top, right in zip(tops, rights, strict=True))
    middle, half = (_LEFT + _RIGHT) / 2, (_RIGHT - _LEFT) / 2
    marks = []
    for place, label in ((-1, f"−{text}"), (0, "0"), (1, text)):
        x = middle + place * half * histogram.range / histogram.reach
        if place:
            marks.append(f'<line class="range" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BASE}"/>')
        # Near an edge of the picture a label is pushed inside.
        anchor = "middle"
        if place and abs(x - middle) + 4 * len(label) > _WIDTH / 2:
            anchor, x = ("start", 1.0) if place < 0 else ("end", _WIDTH - 1.0)
        marks.append(f'<text x="{x:.1f}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{escape(label)}</text>')
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="histogram of {escape(title)}">'
        f'<path d="M{_LEFT} {_BASE}{steps}V{_BASE}Z"/>'
        f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{_BASE}" y2="{_BASE}"/>{"".join(marks)}</svg>'
        f"<figcaption><b>{escape(title)}</b> {escape(note)}</figcaption></figure>"
    )


def bars(values: Sequence[float], largest: float) -> str:
    """A cell with a bar for each value, 0 … ``largest`` as its whole width; negative values have none."""
    drawn = "".join(
        f'<i class="bar{index}" style="width:{100 * max(value, 0.0) / largest if largest > 0 else 0:.1f}%"></i>'
        for index, value in enumerate(values)
    )
    return f'<td class="bars">{drawn}</td>'


def table(rows: Sequence[Sequence[str]], extra: Sequence[str] = (), *, words: int = 1, aside: int | None = None) -> str:
    """A table of text, headings first; ``extra``: a cell of HTML at the end of each row, the heading's first.

    ``words``: how many columns from the left are names; numbers are set to the right. ``aside``: the column that a
    narrow screen leaves out.
    """
    classes = ["" if index < words else "number" for index in range(len(rows[0]))]
    if aside is not None:
        classes[aside] = f"{classes[aside]} aside".lstrip()
    cells = extra or [""] * len(rows)
    head, *body = [
        "<tr>" + "".join(map(_cell, [tag] * len(row), row, classes)) + cell + "</tr>\n"
        for tag, row, cell in zip(["th", *["td"] * (len(rows) - 1)], rows, cells, strict=True)
    ]
    return f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{"".join(body)}</tbody></table></div>\n'


def _cell(tag: str, text: str, name: str) -> str:
    attribute = f' class="{name}"' if name else ""
    return f"<{tag}{attribute}>{escape(text)}</{tag}>"
