"""The report in a real Chromium, from disk: its tables sort by a click."""

from pathlib import Path

import pytest

from evaluation.test_report import page
from make.browser import Tab
from pillsnap.evaluation import report

pytestmark = pytest.mark.slow

ROWS = [["b", 9.5], ["a", None], ["c", 10.0], ["d", -2.0]]


@pytest.fixture
def opened(tab: Tab, tmp_path: Path) -> Tab:
    """A tab that shows a report with one more table, of ROWS."""
    path = tmp_path / "report.html"
    table = report.table(["name", "value"], ROWS)
    path.write_text(page().replace("</h1>", f"</h1>{table}", 1), encoding="utf-8")
    tab.call("Page.navigate", url=path.as_uri())
    assert tab.comes_true("document.readyState === 'complete' && document.querySelector('table')")
    return tab


def click(opened: Tab, column: int) -> None:
    opened.value(
        f"document.querySelectorAll('table')[0].querySelectorAll('button')[{column}].click()"
    )


def names(opened: Tab) -> list[str]:
    rows = "[...document.querySelectorAll('table')[0].tBodies[0].rows]"
    return list(opened.value(f"{rows}.map(row => row.cells[0].textContent)"))


def test_a_click_sorts_by_number_and_another_turns_it_round(opened: Tab) -> None:
    click(opened, 1)
    assert names(opened) == ["c", "b", "d", "a"]
    click(opened, 1)
    assert names(opened) == ["d", "b", "c", "a"]


def test_a_click_on_a_text_column_sorts_by_name(opened: Tab) -> None:
    click(opened, 0)
    assert names(opened) == ["d", "c", "b", "a"]


def test_the_head_says_which_way_it_is_sorted(opened: Tab) -> None:
    click(opened, 1)
    head = "document.querySelector('th:nth-child(2)').getAttribute('aria-sort')"
    assert opened.value(head) == "descending"


def test_the_report_needs_no_network_and_does_not_complain(opened: Tab) -> None:
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert opened.complaints == []
