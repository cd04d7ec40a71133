"""The evaluation as one HTML file that opens from disk: figures, pictures, curves, tables."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from pillsnap.evaluation import matching
from pillsnap.evaluation.curves import chart

Json = Mapping[str, Any]

SYNTHETIC = "Drawn pills: these figures say nothing about real pills."
NO_DEVICE = "Not a medical device. A name given here is a suggestion for someone who checks it."
COVERAGE_FLOOR = 0.5  # accuracy against coverage is drawn from here when it never falls lower

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6676; --page: #fff; --card: #f4f6f8;
  --line: #dde2e8; --fail: #b3261e; --pass: #1d6b3a; --mark: #0b62a8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --page: #12161c;
  --card: #1b2129; --line: #2d3641; --fail: #ff8a80; --pass: #7bd79a; --mark: #7fb8ea; } }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Noto Sans KR", "Malgun Gothic", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.verdict { border-left: .5rem solid; padding: .8rem 1.2rem; background: var(--card); }
.verdict.fail { border-color: var(--fail); } .verdict.pass { border-color: var(--pass); }
.tiles { display: grid; gap: .8rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); }
.tile { background: var(--card); padding: .6rem .9rem; } .tile b { display: block;
  font-size: 1.45rem; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); }
.tile small { display: block; color: var(--soft); font-variant-numeric: tabular-nums; }
.met { color: var(--pass); } .missed { color: var(--fail); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--soft);
  font-weight: 500; position: sticky; top: 0; background: var(--page); }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " ▲"; font-size: .7em; }
th[aria-sort=descending] button::after { content: " ▼"; font-size: .7em; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.cure { color: var(--soft); } .scroll { overflow: auto; max-height: 34rem; }
.row { display: grid; gap: 1rem 2rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
img { max-width: 100%; height: auto; } svg { max-width: 26rem; width: 100%; }
svg text { font-size: 11px; fill: var(--soft); } svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke: var(--mark); stroke-width: 2; }
svg circle { fill: var(--mark); } svg .even { stroke: var(--soft); stroke-dasharray: 4 3; }
code { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
"""

SCRIPT = """
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const down = head.getAttribute("aria-sort") !== "descending", column = head.cellIndex;
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => { const x = key(a), y = key(b), n = x - y;
    if (x === "" || y === "") return (x === "") - (y === "");
    return (Number.isNaN(n) ? x.localeCompare(y) : n) * (down ? -1 : 1); };
  [...body.rows].sort(order).forEach(row => body.append(row));
}));
"""


def render(
    measured: Json,
    plots: Mapping[str, Sequence[Json]],
    classes: pd.DataFrame,
    pictures: Mapping[str, bytes],
    scale: str,
) -> str:
    """The page for metrics.json, the rows of its plots, the per-class table and JPEG pictures
    ("detections", "confusions", "unknown")."""
    parts = [
        _verdict(measured, scale),
        _tiles(measured),
        "<h2>Photos through the whole pipeline</h2>",
        "<p>Val frames: right ones first, then those with most errors.</p>",
        _picture(pictures, "detections"),
        _errors(measured),
        "<h2>Pills taken for others</h2>",
        _picture(pictures, "confusions"),
        "<h2>Pills it never learnt</h2>",
        _unknown(measured),
        _picture(pictures, "unknown"),
        "<h2>Curves</h2>",
        _curves(plots),
        "<h2>How hard the test is</h2>",
        _honesty(measured["honesty"]),
        "<h2>Where it is right</h2>",
        _facets(measured),
        "<h2>Every class</h2>",
        _classes(classes),
        "<h2>Speed, training, origin</h2>",
        _origin(measured),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>PillSnap: evaluation, {escape(scale)}</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + f"<script>{SCRIPT}</script></body></html>\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table whose heads sort it; numbers are shown short and sorted in full."""
    head = "".join(f'<th><button type="button">{escape(name)}</button></th>' for name in heads)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def shown(value: Any, interval: Any = None) -> str:
    """A figure for people: three digits, its interval behind it, a dash for None."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return f"{text} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else text


def _verdict(measured: Json, scale: str) -> str:
    goals = measured["targets"]
    missed = [name for name, goal in goals.items() if not goal["met"]]
    title = f"{len(goals) - len(missed)} of {len(goals)} goals met at scale {scale}"
    note = f"<p>{SYNTHETIC}</p>" if scale == "demo" else ""
    return (
        f'<div class="verdict {"fail" if missed else "pass"}"><h1>{escape(title)}</h1>{note}'
        f"<p>{NO_DEVICE}</p></div>"
    )


def _tiles(measured: Json) -> str:
    goals = measured["targets"]
    figures = [
        ("classification", "top1", "top-1 on labelled boxes", "classification_top1"),
        ("classification", "top5", "top-5 on labelled boxes", ""),
        ("classification", "macro_f1", "macro F1", ""),
        ("classification", "ece", "calibration error", ""),
        ("detection", "map50", "mAP50 of the boxes", "detection_map50"),
        ("detection", "map50_95", "mAP50-95 of the boxes", ""),
        ("pipeline", "pill_f1", "F1 of boxed and named pills", ""),
        ("pipeline", "frame_exact", "frames wholly right", ""),
        ("pipeline", "name_precision", "right, when it gives a name", ""),
        ("pipeline", "ms_per_frame_p50", "ms a frame (median)", ""),
        ("unknown", "auroc", "AUROC, known against unknown", ""),
        ("training", "total_minutes", "minutes of training", "training_minutes"),
    ]
    tiles = []
    for part, key, title, goal in figures:
        section = measured[part]
        interval = section.get("ci", {}).get(key)
        small = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        small = section.get(f"{key}_reason", small)
        kept = _goal(goals[goal], goal) if goal else ""
        tiles.append(
            f'<div class="tile"><b>{shown(section[key])}</b><span>{title}</span>'
            f"<small>{escape(small)}</small>{kept}</div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _goal(goal: Json, name: str) -> str:
    sign = "at most" if name.endswith("minutes") else "at least"
    word = "met" if goal["met"] else "missed"
    return f'<small class="{word}">goal {sign} {goal["goal"]:g}: {word}</small>'


def _picture(pictures: Mapping[str, bytes], name: str) -> str:
    data = base64.b64encode(pictures[name]).decode()
    return f'<img alt="{name}" src="data:image/jpeg;base64,{data}">'


def _errors(measured: Json) -> str:
    pipeline = measured["pipeline"]
    parts = {
        "val, all": pipeline,
        "val, single": pipeline["single"],
        "val, combination": pipeline["combination"],
        "test, combination": pipeline["test"],
        **({"test, single": pipeline["test_single"]} if "test_single" in pipeline else {}),
    }
    keys = ("pill_precision", "pill_recall", "pill_f1", "frame_exact")
    rows = [
        [name, part["frames"], part["pills"]]
        + [part[key] for key in keys]
        + [part["errors"][kind] for kind in matching.ERRORS]
        for name, part in parts.items()
    ]
    heads = ["frames of", "frames", "pills", "precision", "recall", "F1", "wholly right"]
    return table(heads + [kind.replace("_", " ") for kind in matching.ERRORS], rows)


def _unknown(measured: Json) -> str:
    part = measured["unknown"]
    kept = next(row["score"] for row in part["compared"] if row["kept"])
    lead = (
        f"<p>A pill is refused when its {kept.replace('_', ' ')} is under "
        f"{part['threshold']:.4f}, the value that lets {shown(part['known_accepted'])} of val's "
        f"known pills through. Of {part['pills']:,} pills never learnt, "
        f"{shown(part['unknown_accepted'], part['ci']['unknown_accepted'])} pass as known. The "
        "score was chosen on val, by the first of these stand-ins for unknown pills that holds "
        f"enough of them ({escape(part['chosen_on'].replace('_', ' '))}):</p>"
    )
    stand_ins = [key for key in part["compared"][0] if key.startswith("auroc_")]
    heads = [key.replace("auroc_", "AUROC, ").replace("_", " ") for key in stand_ins]
    rows = [[r["score"], *(r[key] for key in stand_ins), r["kept"]] for r in part["compared"]]
    return lead + table(["score", *heads, "kept"], rows) + _left_out(part["left_out"])


def _left_out(part: Json) -> str:
    if not part["pills"]:
        return ""
    interval = part["ci"]["auroc"]
    return (
        f"<p>Left out of the classes on purpose: {part['codes']:,} codes, {part['pills']:,} pills. "
        f"AUROC {shown(part['auroc'], interval)}; "
        f"{shown(part['unknown_accepted'], part['ci']['unknown_accepted'])} pass as known.</p>"
    )


def _honesty(part: Json) -> str:
    lead = "Pills of val and test that nearly equal a train pill of their code flatter the figures."
    rows = [[k.replace("_", " "), v] for k, v in part.items() if not k.endswith("_reason")]
    return f"<p>{lead}</p>" + table(["what", "value"], rows)


def _curves(plots: Mapping[str, Sequence[Json]]) -> str:
    pr = [(row["recall"], row["precision"]) for row in plots["pr_curve"]]
    sure = [(row["confidence"], row["accuracy"]) for row in plots["reliability"]]
    kept = [(row["coverage"], row["accuracy"]) for row in plots["coverage"]]
    low = COVERAGE_FLOOR if kept and min(y for _, y in kept) >= COVERAGE_FLOOR else 0.0
    charts = {
        "Detector: precision against recall": chart(pr, "recall", "precision"),
        "Is it as often right as it says?": chart(sure, "confidence", "accuracy", diagonal=True),
        "Accuracy when the least sure pills are refused": chart(
            kept, "part of the pills named", "accuracy", low=low
        ),
    }
    cells = "".join(f"<div><h3>{title}</h3>{drawn}</div>" for title, drawn in charts.items())
    return f'<div class="row">{cells}</div>'


def _facets(measured: Json) -> str:
    heads = ["value", "pills", "top-1", "found in frames", "right in frames", "pills in frames"]
    parts = []
    for title, rows in measured["by"].items():
        cells = [
            [
                row["value"],
                row["pills"],
                (row["top1"], row["ci"]),
                row["found"],
                row["right"],
                row["frame_pills"],
            ]
            for row in rows
        ]
        parts.append(f"<div><h3>By {escape(title)}</h3>{table(heads, cells)}</div>")
    return "".join(parts)


def _classes(classes: pd.DataFrame) -> str:
    columns = {
        "mapping_code": "code",
        "drug_name": "name",
        "pills": "pills",
        "top1": "top-1",
        "precision": "precision",
        "f1": "F1",
        "taken_for": "taken for",
    }
    rows = classes[list(columns)].astype(object).values.tolist()
    return table(list(columns.values()), rows)


def _origin(measured: Json) -> str:
    facts: dict[str, Any] = dict(measured["provenance"][0])
    for part in ("speed", "training"):
        facts |= {f"{part}.{name}": value for name, value in measured[part].items()}
    rows = [[name, value] for name, value in facts.items()]
    return table(["what", "value"], rows)


def _cell(value: Any) -> str:
    interval = None
    if isinstance(value, tuple):
        value, interval = value
    if isinstance(value, (bool, str, Mapping)):
        text = shown(value) if isinstance(value, bool) else str(value)
        return f"<td>{escape(text)}</td>"
    key = "" if value is None or value != value else repr(value)
    return f'<td class="n" data-value="{key}">{shown(value, interval)}</td>'
