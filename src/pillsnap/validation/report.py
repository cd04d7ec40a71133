"""The report of validate: one HTML file without outside requests, verdict first."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

ROWS_SHOWN = 200  # of rejected.csv
WORDS = {"fail": "fails", "warn": "look", "pass": "passes"}

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6676; --page: #fff; --card: #f4f6f8;
  --line: #dde2e8; --fail: #b3261e; --warn: #8a5a00; --pass: #1d6b3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --page: #12161c;
  --card: #1b2129; --line: #2d3641; --fail: #ff8a80; --warn: #f5c063; --pass: #7bd79a; } }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Noto Sans KR", "Malgun Gothic", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
.verdict { border-left: .5rem solid; padding: .8rem 1.2rem; background: var(--card); }
.verdict.fail { border-color: var(--fail); } .verdict.pass { border-color: var(--pass); }
.verdict.warn { border-color: var(--warn); } .verdict ol { margin: .4rem 0; padding-left: 1.3rem; }
.tiles { display: grid; gap: .8rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.tile { background: var(--card); padding: .6rem .9rem; } .tile b { display: block;
  font-size: 1.35rem; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--soft);
  font-weight: 500; } th, td { border-bottom: 1px solid var(--line); padding: .45rem .6rem;
  vertical-align: top; }
td.count { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.fail > td:first-child { color: var(--fail); font-weight: 600; }
.warn > td:first-child { color: var(--warn); font-weight: 600; }
.pass > td:first-child { color: var(--pass); }
code, .path { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
.cure { color: var(--soft); } details { margin-top: .2rem; } summary { cursor: pointer; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; width: 15rem; }
figure img { max-width: 100%; height: auto; margin-right: 2px; } .pair img { max-width: 48%; }
figcaption { font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
"""


@dataclass(frozen=True)
class Example:
    """Pictures (JPEG bytes) of one finding of a check."""

    check: str
    caption: str
    jpegs: tuple[bytes, ...]


def render(verdict: Mapping[str, Any], rejected: pd.DataFrame, examples: list[Example]) -> str:
    """The page for a validation.json, the refused rows (path, reason) and some pictures."""
    checks = sorted(
        verdict["checks"], key=lambda check: ("fail", "warn", "pass").index(check["status"])
    )
    parts = [
        _verdict(verdict, checks),
        _tiles(verdict),
        "<h2>Checks</h2>",
        _checks(checks),
        _pictures(examples),
        _rejected(rejected),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>PillSnap: validation</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _verdict(verdict: Mapping[str, Any], checks: list[dict[str, Any]]) -> str:
    failed = [check for check in checks if check["status"] == "fail"]
    found = [check for check in checks if check["status"] == "warn"]
    if failed:
        kind, title = "fail", f"Do not train on this: {len(failed)} of {len(checks)} checks fail"
        lead = "Mend these, in this order:"
    elif found:
        kind, title = "warn", "This data can be trained on"
        lead = f"No check fails. {len(found)} found something to look at:"
    else:
        kind, title, lead = "pass", "This data can be trained on", "Every check passes."
    items = "".join(
        f"<li><b>{escape(check['meaning'])}</b> {escape(_amount(check))}. "
        + (f'<span class="cure">{escape(check["cure"])}</span></li>' if failed else "</li>")
        for check in failed or found
    )
    body = f"<p>{lead}</p><ol>{items}</ol>" if items else f"<p>{lead}</p>"
    return f'<div class="verdict {kind}"><h1>{escape(title)}</h1>{body}</div>'


def _tiles(verdict: Mapping[str, Any]) -> str:
    rejected = sum(verdict["rejected"].values())
    share = rejected / verdict["rows"] if verdict["rows"] else 0.0
    tiles = [(f"{count:,}", f"{split} pills") for split, count in verdict["admitted"].items()]
    tiles.append((f"{rejected:,}", f"refused ({share:.2%} of {verdict['rows']:,})"))
    for name, count in verdict.get("pictures", {}).items():
        tiles.append((f"{count:,}", name.replace("_", " ")))
    incomplete = verdict.get("incomplete_combinations")
    if incomplete:
        done = "left out of detection"
        if incomplete["treatment"] == "paint_out":
            done = f"{incomplete['pills_painted_out']} pills painted out"
        tiles.append((f"{incomplete['photos']:,}", f"incomplete combinations ({done})"))
    cells = "".join(f'<div class="tile"><b>{a}</b><span>{escape(b)}</span></div>' for a, b in tiles)
    return f'<div class="tiles">{cells}</div>'


def _checks(checks: list[dict[str, Any]]) -> str:
    head = "<tr><th>Verdict</th><th>Check</th><th>Found</th></tr>"
    found = "".join(_row(check) for check in checks if check["status"] != "pass")
    passed = [check for check in checks if check["status"] == "pass"]
    table = f'<div class="scroll"><table>{head}{found}</table></div>' if found else ""
    return (
        f"{table}<details><summary>{len(passed)} checks found nothing</summary>"
        f"<table>{''.join(_row(check) for check in passed)}</table></details>"
    )


def _row(check: dict[str, Any]) -> str:
    return (
        f'<tr class="{check["status"]}"><td>{WORDS[check["status"]]}</td>'
        f"<td><code>{escape(check['name'])}</code>{_findings(check)}</td>"
        f'<td class="count">{escape(_amount(check))}</td></tr>'
    )


def _amount(check: dict[str, Any]) -> str:
    """`1 class`, `5 classes`."""
    unit = str(check["counts"])
    if check["count"] == 1:
        unit = unit.removesuffix("es") if unit.endswith("sses") else unit.removesuffix("s")
    return f"{check['count']:,} {unit}"


def _findings(check: dict[str, Any]) -> str:
    if check["status"] == "pass":
        return ""
    lines = "".join(f'<div class="path">{escape(example)}</div>' for example in check["examples"])
    unfolded = " open" if check["status"] == "fail" else ""
    return (
        f"<div>{escape(check['meaning'])}</div>"
        f'<div class="cure">{escape(check["cure"])}</div>'
        f"<details{unfolded}><summary>where</summary>{lines}</details>"
    )


def _pictures(examples: list[Example]) -> str:
    if not examples:
        return ""
    shown = ["<h2>What it looks like</h2>"]
    for name in dict.fromkeys(example.check for example in examples):
        figures = "".join(_figure(example) for example in examples if example.check == name)
        shown.append(f'<h3><code>{escape(name)}</code></h3><div class="pictures">{figures}</div>')
    return "\n".join(shown)


def _figure(example: Example) -> str:
    pair = ' class="pair"' if len(example.jpegs) > 1 else ""
    images = "".join(
        f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
        for jpeg in example.jpegs
    )
    return f"<figure{pair}>{images}<figcaption>{escape(example.caption)}</figcaption></figure>"


def _rejected(rejected: pd.DataFrame) -> str:
    if not len(rejected):
        return ""
    rows = "".join(
        f'<tr><td class="path">{escape(path)}</td><td>{escape(reason)}</td></tr>'
        for path, reason in rejected.head(ROWS_SHOWN).itertuples(index=False)
    )
    more = f" (first {ROWS_SHOWN} of {len(rejected):,})" if len(rejected) > ROWS_SHOWN else ""
    head = "<tr><th>Photo</th><th>Why</th></tr>"
    return (
        f'<h2>Refused{more}: rejected.csv</h2><div class="scroll"><table>{head}{rows}</table></div>'
    )
