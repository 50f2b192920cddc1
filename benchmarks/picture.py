"""A question's figures as one SVG: bars with their spread, or a line where a question is about growth.

Drawn by hand, so that the same results give the same bytes and no library is needed. The picture has a ground of its
own and both sets of colours, so that it can be read on a light and on a dark page. No CSS variables, no fonts to load:
renderers other than browsers shall manage, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.question import OURS, Figure, Question, Run, digits
from benchmarks.table import Row, rows

WIDTH = 840.0
MARGIN = 24.0
GAP = 32.0  # between columns
LINE = 20.0  # one bar
BAR = 11.0
CASE = 30.0  # the name of a case, above its bars
HEAD = 48.0  # a panel's title
FOOT = 34.0  # its axis
PLOT = 170.0  # the height of a panel with lines
LETTER = 7.0  # the width of a rather wide one, at 12 px
BOLD = 8.0  # as wide, in a panel's title
SHORT = 10  # letters; with longer names of sides, three columns would leave no room for bars
VALUE = 66.0  # room for a figure behind its bar
OWN_SCALE_FROM = 8.0  # beyond this ratio between cases the smaller one's bars would not be seen

_STYLE = """\
text { font: 12px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2328; }
.name { font-size: 17px; font-weight: 600; }
.panel { font-size: 13px; font-weight: 600; }
.quiet { fill: #59636e; }
.small { font-size: 11px; }
.on { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke; }
.ours { font-weight: 600; }
.ground { fill: #ffffff; stroke: #d1d9e0; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.bar { fill: #afb8c1; }
.bar.ours { fill: #218bff; }
.whisker { fill: none; stroke: #1f2328; stroke-opacity: 0.65; stroke-width: 1.2; }
.line { fill: none; stroke: #8c959f; stroke-width: 2; }
.line.ours { stroke: #218bff; }
.dot { fill: #8c959f; }
.dot.ours { fill: #218bff; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.quiet { fill: #9198a1; }
.on { stroke: #0d1117; }
.ground { fill: #0d1117; stroke: #3d444d; }
.grid { stroke: #3d444d; }
.bar { fill: #59636e; }
.bar.ours { fill: #388bfd; }
.whisker { stroke: #f0f6fc; }
.line { stroke: #9198a1; }
.line.ours { stroke: #388bfd; }
.dot { fill: #9198a1; }
.dot.ours { fill: #388bfd; }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure: as bars, all its cases; as a line, those cases that count the same thing."""

    figure: Figure
    rows: Sequence[Row]
    along: str = ""
    """What the cases count, such as "replicas"; "" for bars."""

    @property
    def cases(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.case, []).append(row)
        return found

    @property
    def height(self) -> float:
        if self.along:
            return HEAD + PLOT + FOOT
        named = sum(1 for case in self.cases if case)
        return HEAD + named * CASE + len(self.rows) * LINE + FOOT


def picture(question: Question, runs: Sequence[Run]) -> str:
    """The whole document. Without any figure it says so."""
    found = panels(question, runs)
    body: list[str] = []
    top = MARGIN + 34.0
    columns = _columns(found)
    width = _width(columns)
    for number in range(0, len(found), columns):
        beside = found[number : number + columns]
        for column, panel in enumerate(beside):
            draw = _lines if panel.along else _bars
            body += draw(panel, MARGIN + column * (width + GAP), top, width)
        top += max(panel.height for panel in beside) + (GAP / 2 if number + columns < len(found) else 0.0)
    if not found:
        body.append(_text(MARGIN, top + 12, "not measured", "quiet"))
        top += 24.0
    height = top + MARGIN - 12.0
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(WIDTH)} {_n(height)}" width="{_n(WIDTH)}"'
        f' height="{_n(height)}" role="img" aria-labelledby="title description">'
    )
    return "\n".join(
        (
            head,
            f'<title id="title">{escape(question.title)}</title>',
            f'<desc id="description">{escape(in_words(question, runs))}</desc>',
            f"<style>\n{_STYLE}</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{_n(WIDTH - 1)}" height="{_n(height - 1)}" rx="8"/>',
            _text(MARGIN, MARGIN + 14.0, question.title, "name"),
            *body,
            "</svg>\n",
        )
    )


def _columns(found: Sequence[Panel]) -> int:
    """Three where that leaves no gap, otherwise two; fewer where titles or names would not fit."""
    names = max((len(row.side) for panel in found if not panel.along for row in panel.rows), default=0)
    titles = max((len(panel.figure.heading) for panel in found), default=0)
    most = 3 if len(found) % 3 == 0 and names <= SHORT else min(2, len(found))
    return next((count for count in range(most, 1, -1) if titles * BOLD <= _width(count)), 1)


def _width(columns: int) -> float:
    """Of one of them."""
    return (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns


def in_words(question: Question, runs: Sequence[Run]) -> str:
    """Medians, for those who do not see the picture."""
    parts = []
    for panel in panels(question, runs):
        for case, found in panel.cases.items():
            sides = ", ".join(f"{row.side} {panel.figure.text(row.median)}" for row in found)
            parts.append(f"{panel.figure.title}{f', {case}' if case else ''}: {sides}.")
    return " ".join(parts)


def panels(question: Question, runs: Sequence[Run]) -> list[Panel]:
    """Figure by figure; for growth, each of them along what is counted. One that is nothing everywhere is not drawn."""
    wanted = set(question.drawn) or {figure.name for figure in question.figures}
    every = [row for row in rows(question, runs) if row.figure.name in wanted]
    along = dict.fromkeys(step(row.case)[1] for row in every) if question.growth else {"": None}
    found = [
        Panel(figure, [row for row in every if row.figure == figure and (not what or step(row.case)[1] == what)], what)
        for what in along
        for figure in question.figures
    ]
    return [panel for panel in found if any(row.highest for row in panel.rows)]


def _bars(panel: Panel, left: float, top: float, width: float) -> Iterator[str]:
    yield from _titled(panel, left, top)
    names = max(len(row.side) for row in panel.rows) * LETTER + 10.0
    start, room = left + names, width - names - VALUE
    highest = {case: max(row.highest for row in found) for case, found in panel.cases.items()}
    own = max(highest.values()) > OWN_SCALE_FROM * min(highest.values())
    most = _round_up(max(highest.values()))
    bottom = top + panel.height - FOOT
    if not own:
        yield from _axis(most, start, room, top + HEAD - 4.0, bottom)
    else:
        yield _text(left, bottom + 16.0, "each group has a scale of its own", "quiet small")
    y = top + HEAD
    for case, found in panel.cases.items():
        if case:
            yield _text(start, y + 20.0, case, "quiet on")
            y += CASE
        scale = room / (highest[case] if own else most) if highest[case] else 0.0
        for row in found:
            middle = y + LINE / 2
            ours = " ours" if row.side == OURS else ""
            yield _text(start - 8.0, middle + 4.0, row.side, ours.strip(), anchor="end")
            yield (
                f'<rect class="bar{ours}" x="{_n(start)}" y="{_n(middle - BAR / 2)}"'
                f' width="{_n(max(1.0, row.median * scale))}" height="{_n(BAR)}" rx="2"/>'
            )
            low, high = start + row.lowest * scale, start + row.highest * scale
            if high - low >= 1.0:
                yield (
                    f'<path class="whisker" d="M{_n(low)} {_n(middle - 3)}v6M{_n(low)} {_n(middle)}H{_n(high)}'
                    f'M{_n(high)} {_n(middle - 3)}v6"/>'
                )
            yield _text(max(high, start) + 7.0, middle + 4.0, digits(row.median), f"on{ours}")
            y += LINE


def _lines(panel: Panel, left: float, top: float, width: float) -> Iterator[str]:
    yield from _titled(panel, left, top)
    most = _round_up(max(row.highest for row in panel.rows))
    furthest = max(step(row.case)[0] for row in panel.rows)
    ticks = _ticks(most)
    names = max(len(_scale(tick)) for tick in ticks) * LETTER + 8.0
    labelled = {row.side for row in panel.rows} != {OURS}
    start, room = left + names, width - names - (VALUE if labelled else 20.0)
    floor = top + HEAD + PLOT
    for tick in ticks:
        y = floor - tick / most * PLOT
        yield f'<path class="grid" d="M{_n(start)} {_n(y)}h{_n(room)}"/>'
        yield _text(start - 6.0, y + 4.0, _scale(tick), "quiet small", anchor="end")
    steps = sorted({step(row.case)[0] for row in panel.rows})
    marked: list[float] = []
    for size in dict.fromkeys((steps[-1], steps[0], *reversed(steps))):  # the ends, and what fits between them
        x = start + size / furthest * room
        if all(abs(x - other) > (len(digits(size)) + 2) * LETTER for other in marked):
            yield _text(x, floor + 16.0, digits(size), "quiet small", anchor="middle")
            marked.append(x)
    yield _text(start + room / 2, floor + 30.0, panel.along, "quiet small", anchor="middle")
    for side in dict.fromkeys(row.side for row in panel.rows):
        ours = " ours" if side == OURS else ""
        points = []
        marks = []
        for row in sorted((row for row in panel.rows if row.side == side), key=lambda row: step(row.case)[0]):
            x = start + step(row.case)[0] / furthest * room
            y, low, high = (floor - value / most * PLOT for value in (row.median, row.lowest, row.highest))
            points.append(f"{_n(x)} {_n(y)}")
            if low - high >= 1.0:
                marks.append(
                    f'<path class="whisker" d="M{_n(x - 3)} {_n(low)}h6M{_n(x)} {_n(low)}V{_n(high)}'
                    f'M{_n(x - 3)} {_n(high)}h6"/>'
                )
            marks.append(f'<circle class="dot{ours}" cx="{_n(x)}" cy="{_n(y)}" r="3.5"/>')
        yield f'<path class="line{ours}" d="M{"L".join(points)}"/>'
        yield from marks
        if labelled:
            x, y = map(float, points[-1].split())
            yield _text(x + 9.0, y + 4.0, side, f"small{ours}")


def _titled(panel: Panel, left: float, top: float) -> Iterator[str]:
    yield _text(left, top + 18.0, panel.figure.heading, "panel")
    yield _text(left, top + 34.0, f"{panel.figure.better} is better", "quiet small")


def _axis(most: float, start: float, room: float, top: float, bottom: float) -> Iterator[str]:
    ticks = next(
        each
        for each in (_ticks(most), [0.0, most / 2, most], [0.0, most])
        if len(each) == 2 or len(each) * max(len(_scale(tick)) for tick in each) * LETTER < room
    )
    for tick in ticks:
        x = start + tick / most * room
        yield f'<path class="grid" d="M{_n(x)} {_n(top)}V{_n(bottom)}"/>'
        yield _text(x, bottom + 16.0, _scale(tick), "quiet small", anchor="middle")


def _round_up(value: float) -> float:
    """To a number with which an axis may end."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        power * each for each in (1.0, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0) if value <= power * each
    )


def _ticks(most: float) -> list[float]:
    """From 0 to `most`, which `_round_up` has made, in equal steps with round names."""
    first = round(most / 10.0 ** math.floor(math.log10(most)), 6)
    parts = {1.0: 5, 1.2: 3, 2.5: 5, 3.0: 3, 5.0: 5, 6.0: 3}.get(first, 4)
    return [most * part / parts for part in range(parts + 1)]


def _scale(value: float) -> str:
    """A mark of an axis."""
    return f"{value:,.6g}"


def step(case: str) -> tuple[float, str]:
    """How many of what: `16 replicas`, `5,000 streams`. Raises ValueError for a case that counts nothing."""
    found = re.fullmatch(r"([\d,.]+) (.+)", case)
    if found is None:
        raise ValueError(f"“{case}” is no step of growth: it has to begin with a number")
    count, what = float(found[1].replace(",", "")), found[2]
    return count, f"{what}s" if count == 1 and not what.endswith("s") else what


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "") -> str:
    attributes = "".join(f' {name}="{value}"' for name, value in (("class", kind), ("text-anchor", anchor)) if value)
    return f'<text x="{_n(x)}" y="{_n(y)}"{attributes}>{escape(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
