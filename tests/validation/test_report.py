"""The report: verdict first, self-contained, everything escaped."""

import re
from typing import Any

import pandas as pd
import pytest

from pillsnap.dataset.findings import Findings
from pillsnap.validation.check_table import results
from pillsnap.validation.report import ROWS_SHOWN, Example, render

NONE = pd.DataFrame({"path": [], "reason": []})


def verdict(findings: Findings) -> dict[str, Any]:
    return {
        "checks": results(findings),
        "admitted": {"train": 1200, "val": 300, "test": 20},
        "rejected": {"photo_damaged": 3},
        "rows": 1523,
        "pictures": {"crops": 1520},
    }


def finding(name: str, example: str) -> Findings:
    findings = Findings()
    findings.add(name, example)
    return findings


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (Findings(), "The data can be used for training"),
        (finding("photo_damaged", "a.png: cut"), "The data can be used for training"),
        (finding("group_leakage", "g: a and b"), "Do not train on this data: 1 of"),
    ],
)
def test_the_verdict_comes_first(findings, words):
    page = render(verdict(findings), NONE, [])
    assert re.search(r"<body>\s*<div[^>]*>\s*<h1[^>]*>([^<]*)", page)
    assert words in page[: page.index("<h2>")]


def test_cures_examples_and_counts_are_shown():
    page = render(verdict(finding("group_leakage", "g: a and b")), NONE, [])
    head = page[: page.index("<h2>")]
    assert "Capture groups are in both train and val." in head
    assert "dvc repro -f build_manifest" in head
    page = render(verdict(finding("photo_damaged", "약/a.png: cut")), NONE, [])
    assert "약/a.png: cut" in page
    assert "1,200" in page
    assert "rejected (0.20% of 1,523)" in page


def test_names_cannot_inject_markup_and_the_page_makes_no_requests():
    path = "<script>alert(1)</script>.png"
    rejected = pd.DataFrame({"path": [path], "reason": ["photo_damaged: <b>"]})
    example = Example("x", path, (b"jpeg",) * 2)
    page = render(verdict(finding("photo_damaged", path)), rejected, [example])
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;") == 3
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|https?://|@import", page)
    assert page.count("data:image/jpeg;base64,anBlZw==") == 2


def test_each_check_has_its_meaning_and_cure_in_korean():
    found = {check["name"]: check["ko"] for check in results(Findings())}
    assert all(re.search("[가-힣].*\n.*[가-힣]", "\n".join(texts)) for texts in found.values())
    page = render(verdict(finding("photo_damaged", "a.png")), NONE, [])
    assert f'data-ko="{found["photo_damaged"][0]}"' in page


def test_a_long_list_of_rejected_rows_is_cut_with_a_note():
    count = ROWS_SHOWN + 5
    rejected = pd.DataFrame({"path": [f"{i}.png" for i in range(count)], "reason": "x"})
    page = render(verdict(Findings()), rejected, [])
    assert f"The first {ROWS_SHOWN} of {count}." in page
    assert f">{ROWS_SHOWN}.png<" not in page
