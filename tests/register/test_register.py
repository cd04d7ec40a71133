"""The register on disk and the commands: imports replace it as a whole or change nothing."""

import json
import shutil
import subprocess

import pandas as pd
import pytest
from typer.testing import CliRunner

from make.import_graph import ROOT
from pillsnap.cli_run import app
from pillsnap.dataset.manifest import CLASS_COLUMNS, write_classes
from pillsnap.errors import DataError
from pillsnap.register import command, store

HEAD = "품목일련번호,품목명,의약품제형,색상앞,색상뒤,표시앞,표시뒤,보험코드,변경일자"
ROWS = [f"{n},약 {n},원형,하양,,HM{n},마크,64330374{n},2024030{n}" for n in range(1, 10)]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The ministry's table in an empty repository."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "table.csv"
    path.write_bytes("\n".join([HEAD, *ROWS]).encode("cp949"))
    return path


def imported(path, any_size=False):
    return command.import_table(path, path.parent / "classes.csv", any_size)


def test_an_import_keeps_both_dates_and_excel_gives_the_same_drugs_as_csv(table):
    assert "9 drugs, 0 with a K-code, version 2024-03-09" in imported(table)
    register = store.load(store.PATH)
    assert register.drugs[0].edi_codes == ("643303741",)
    assert register.drugs[0].colours == ("하양",)
    assert register.checked > register.version
    pd.read_csv(table, dtype=str, encoding="cp949").to_excel(table.with_suffix(".xlsx"))
    imported(table.with_suffix(".xlsx"))
    assert store.load(store.PATH).drugs == register.drugs


def test_the_command_that_an_import_ends_with_versions_the_register(table):
    shutil.copy(ROOT / ".gitignore", table.parent)
    subprocess.run(["git", "init", "-q"], check=True)
    offered = imported(table).partition("Commit it: ")[2]
    subprocess.run(offered.split(), check=True)
    staged = subprocess.run(["git", "diff", "--cached", "--name-only"], capture_output=True)
    assert staged.stdout.decode().split() == [str(store.PATH)]


def test_a_code_of_the_classes_wins_over_that_of_the_last_register(table):
    rows = {name: ["a", "b"] if kind == "str" else [0, 1] for name, kind in CLASS_COLUMNS.items()}
    rows |= {"item_seq": ["1", "2"], "mapping_code": ["K-000001", "K-000002"]}
    write_classes(table.parent / "classes.csv", rows)
    imported(table)
    write_classes(table.parent / "classes.csv", rows | {"mapping_code": ["K-000007", "K-000008"]})
    imported(table)
    codes = {drug.item_seq: drug.code for drug in store.load(store.PATH).drugs}
    assert (codes["1"], codes["2"], codes["3"]) == ("K-000007", "K-000008", "")


BAD = {
    "no column": "\n".join([HEAD.replace("표시뒤", "뒤"), *ROWS]),
    "no rows": HEAD,
    "half of it": "\n".join([HEAD, *ROWS[:4]]),
    "two entries": "\n".join([HEAD, *ROWS, ROWS[0].replace("HM1", "HM7")]),
    "no number": "\n".join([HEAD, *ROWS, ",약 10,원형,하양,,HM,,,"]),
    "not a table": "\x00\x01",
    "empty": "",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_update_changes_nothing(table, content):
    imported(table)
    before = store.PATH.read_bytes()
    table.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as refused:
        imported(table)
    assert "table.csv" in refused.value.fact
    assert store.PATH.read_bytes() == before


def test_a_damaged_register_heals_by_an_import_and_a_smaller_one_is_taken_when_intended(table):
    imported(table)
    store.PATH.write_text(store.PATH.read_text().replace("HM1", "HM8"))
    with pytest.raises(DataError, match="pillsnap register import"):
        store.current(table)
    imported(table)
    assert len(store.current(table).drugs) == 9
    table.write_text(BAD["half of it"], encoding="utf-8")
    assert "4 drugs" in imported(table, any_size=True)


def test_search_prints_zones_and_json(table, tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["register", "import", str(table)]).exit_code == 0
    text = runner.invoke(app, ["search", "--imprint", "hm 3", "--colour", "white"]).output
    assert "exact: 1 (imprint of one side, or of both)\n  3  약 3  [HM3 | 마크]  원형 하양" in text
    assert "partial: 8" in text and "8 more: --all" in text
    answer = runner.invoke(app, ["search", "--imprint", "WH", "--json"]).output
    assert [drug["item_seq"] for drug in json.loads(answer)["zones"]["misread"]] == list(
        "123456789"
    )
    assert isinstance(runner.invoke(app, ["search", "--imprint", "-"]).exception, DataError)
    nothing = runner.invoke(app, ["search", "--shape", "square"]).output
    assert nothing.startswith("None: all 9 drugs of the register contradict the query.")
