"""The report as one HTML file: no script, no request to anywhere, readable on paper."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from am_ray.comparison import prose
from am_ray.comparison.analysis import Comparison
from am_ray.comparison.differences import NOT_ESTABLISHED
from am_ray.comparison.pictures import Picture
from am_ray.comparison.tables import TextTable, text_tables

# The browser is told to load nothing: what is not in the file is not in the report.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { background: #ffffff; color: #222222; font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 74rem;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; } h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
.facts { color: #555555; margin: 0 0 1rem; }
.conclusions { background: #f3f6fa; border-left: 4px solid #0072b2; margin: 1rem 0; padding: 0.7rem 1rem 0.7rem 2rem; }
.notes { background: #fff6ec; border-left: 4px solid #d55e00; margin: 1rem 0; padding: 0.7rem 1rem 0.7rem 2rem; }
figure { margin: 1rem 0; } img { height: auto; max-width: 100%; }
figcaption, .caption { color: #555555; font-size: 0.88rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #dddddd; padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888888; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, .words { text-align: left; }
td.words { min-width: 9rem; white-space: normal; }
tr.next td { border-top: 2px solid #bbbbbb; }
td.unknown { color: #8a3b00; }
.panels { display: grid; gap: 0.8rem; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); }
.panels figure { margin: 0; }
@media print { body { font-size: 11px; margin: 0; max-width: none; } figure, table { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; } th, td { padding: 0.15rem 0.3rem; } }
"""


def html_report(comparison: Comparison, folder: Path, pictures: Sequence[Picture]) -> str:
    """The whole document.

    Args:
        comparison: What it says.
        folder: In which the figures lie.
        pictures: Panels of episodes.
    """
    rates, curves, differences, budgets = (_table(table) for table in text_tables(comparison))
    sections = [
        f"<h1>{escape(prose.title(comparison))}</h1>",
        f'<p class="facts">{" · ".join(escape(fact) for fact in prose.facts(comparison))}</p>',
        _list(comparison.conclusions, "conclusions"),
        "<h2>What limits this</h2>" + _list(comparison.notes, "notes") if comparison.notes else "",
        "<h2>Success rates</h2>",
        _figure(folder / prose.CURVES_FIGURE, prose.curves_alt(comparison)),
        rates + curves,
        "<h2>Paired differences</h2>",
        _figure(folder / prose.DIFFERENCES_FIGURE, prose.differences_alt(comparison)),
        differences,
        "<h2>Equal budgets</h2>",
        budgets,
        _pretraining(comparison),
        _panels(pictures),
        "<h2>How to read this</h2>" + "".join(f"<p>{escape(text)}</p>" for text in prose.HOW_TO_READ),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(prose.title(comparison))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _list(sentences: Iterable[str], kind: str) -> str:
    return f'<ul class="{kind}">' + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _table(table: TextTable) -> str:
    heads = "".join(f'<th scope="col"{_words(name)}>{escape(name)}</th>' for name in table.columns)
    body = []
    previous = None
    for row in table.rows:
        cells = "".join(_cell(name, value) for name, value in zip(table.columns, row, strict=True))
        body.append(f"<tr{' class=next' if previous not in (None, row[0]) else ''}>{cells}</tr>")
        previous = row[0]
    return (
        f'<div class="scroll"><table aria-label="{escape(table.title)}"><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table></div><p class="caption">{escape(table.caption)}</p>'
    )


def _cell(column: str, value: str) -> str:
    classes = ' class="words unknown"' if column == "verdict" and value.startswith(NOT_ESTABLISHED) else _words(column)
    return f"<td{classes}>{escape(value)}</td>"


def _words(column: str) -> str:
    return ' class="words"' if column == "verdict" else ""


def _figure(path: Path, alt: str) -> str:
    return f'<figure><img alt="{escape(alt)}" src="{_data_uri(path.read_bytes(), "png")}"></figure>'


def _pretraining(comparison: Comparison) -> str:
    lines = prose.pretraining_lines(comparison)
    if not lines:
        return ""
    return "<p>Arms that started from a checkpoint, whose own cost is not counted above:</p>" + _list(lines, "sources")


def _panels(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    shown = "".join(
        f'<figure><img alt="{escape(f"{p.arm}, {p.outcome}: start, goal and final frame")}" '
        f'src="{_data_uri(p.jpeg, "jpeg")}"><figcaption>{escape(f"{p.arm}: {p.outcome} (cell {p.cell}, {p.path.stem})")}'
        f"</figcaption></figure>"
        for p in pictures
    )
    return f'<h2>Episodes</h2><p class="caption">Start, goal (if there is one), final frame.</p><div class="panels">{shown}</div>'


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
