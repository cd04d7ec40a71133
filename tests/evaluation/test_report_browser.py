"""The report in a real Chromium, from disk: its tables sort by a click."""

from pathlib import Path

import pytest

from evaluation.test_report import page
from make.browser import Tab

pytestmark = pytest.mark.slow

COLUMNS = {"mapping_code": ["b", "a", "c", "d"], "top1": [9.5, None, 10.0, -2.0]}
HEADS = "[...document.querySelectorAll('h2')]"
TABLE = f"{HEADS}.find(head => head.textContent === 'Classes').nextElementSibling"


@pytest.fixture
def opened(tab: Tab, tmp_path: Path) -> Tab:
    """A tab that shows a report with one more table, of ROWS."""
    path = tmp_path / "report.html"
    path.write_text(page(columns=COLUMNS), encoding="utf-8")
    tab.call("Page.navigate", url=path.as_uri())
    assert tab.comes_true("document.readyState === 'complete' && document.querySelector('table')")
    return tab


def click(opened: Tab, head: str) -> list[str]:
    """Names in the first column after a click on a head."""
    buttons = f"[...{TABLE}.querySelectorAll('button')]"
    opened.value(f"{buttons}.find(button => button.textContent === '{head}').click()")
    rows = f"[...{TABLE}.querySelector('tbody').rows]"
    return list(opened.value(f"{rows}.map(row => row.cells[0].textContent)"))


def test_a_click_sorts_by_value_another_turns_it_round_and_no_network_is_needed(opened):
    assert click(opened, "top-1") == ["c", "b", "d", "a"]
    assert opened.value(f"{TABLE}.querySelector('th:nth-child(4)').ariaSort") == "descending"
    assert click(opened, "top-1") == ["d", "b", "c", "a"]
    assert click(opened, "code") == ["d", "c", "b", "a"]
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert opened.complaints == []
