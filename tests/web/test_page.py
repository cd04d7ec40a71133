"""The files of both pages."""

import re
from pathlib import Path

import pytest

from pillsnap.monitor.server import PAGE_DIR as MONITOR
from pillsnap.service.app import PAGE_DIR as SERVICE

OURS = [
    path
    for folder in (MONITOR, SERVICE)
    for path in sorted(folder.iterdir())
    if path.suffix in (".js", ".css", ".html") and "uplot" not in path.name
]
ABSOLUTE = re.compile(r"://|[\"'`(=]/\w|@import")


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_a_page_asks_for_relative_addresses_only(path: Path) -> None:
    assert not ABSOLUTE.search(path.read_text("utf-8"))


def test_every_text_of_the_monitor_is_in_both_languages() -> None:
    text = (MONITOR / "words.js").read_text("utf-8").split("let language")[0]
    english, korean = re.split(r"\n  ko: \{", text)
    keys = [re.findall(r'(?:^|[ ,{])"?([\w/]+)"?: "', part) for part in (english, korean)]
    assert sorted(keys[0]) == sorted(keys[1])
    assert len(set(keys[0])) == len(keys[0])
