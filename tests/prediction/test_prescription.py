"""`pillsnap check`: the verdict on drawn photos, and what a prescription may look like."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from make.drawn_models import BLUE, GREEN, RED, STRANGE, classes, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import DataError
from pillsnap.prediction import load, prescription
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.output import Answer
from pillsnap.recognition.recogniser import PillImprint

BETWEEN = (250, 155, 60)  # as near to red as to yellow


def checked(tmp_path, monkeypatch, listed, *squares, flags=()):
    """Exit code and output of `pillsnap check` for squares of 30 px in one photo."""
    loaded = Loaded(recogniser(), 2, 200_000, "torch", "demo", tmp_path / "none.json")
    monkeypatch.setattr(load, "load", lambda *_, **__: loaded)
    places = [(20 + 50 * at, 40, 30, colour) for at, colour in enumerate(squares)]
    Image.fromarray(frame(*places)).save(tmp_path / "photo.png")
    (tmp_path / "list.csv").write_text(listed)
    command = ["check", str(tmp_path / "photo.png"), "--prescription", str(tmp_path / "list.csv")]
    done = CliRunner().invoke(cli_use.app, [*command, *flags])
    return done.exit_code, done.stdout


R, G, B, Y = (f"K-00000{at}" for at in range(4))


@pytest.mark.parametrize(
    ("listed", "squares", "statuses", "left"),
    [
        (f"{R},1\n{G},2", [RED, GREEN, GREEN], ["right", "right"], {}),
        (f"code,count\n{R},1\n", [RED], ["right"], {}),
        ("111,1", [RED], ["right"], {}),  # an EDI code
        (f"{R},2", [RED], ["missing"], {}),
        (f"{R},1", [RED, RED], ["extra"], {}),
        (f"{R},1", [RED, BLUE], ["right"], {"extra": 1}),
        (f"{R},1", [RED, STRANGE], ["right"], {"unsure": 1}),
        (f"{R},1\n{Y},1", [RED, BETWEEN], ["right", "unsure"], {"unsure": 1}),
        (f"{R},1\n{B},1", [RED, BETWEEN], ["right", "missing"], {"unsure": 1}),
        ("K-999999,1", [STRANGE], ["unsure"], {"unsure": 1}),  # no class: cannot be decided
        ("K-999999,1", [RED], ["missing"], {"extra": 1}),
        (f"111,1\n{R},1", [RED, RED], ["right", "right"], {}),  # either pill for either line
        (f"{R},1", [], ["missing"], {}),
    ],
)
def test_verdicts(tmp_path, monkeypatch, listed, squares, statuses, left):
    code, output = checked(tmp_path, monkeypatch, listed, *squares, flags=["--json"])
    tree = json.loads(output)
    assert [drug["status"] for drug in tree["drugs"]] == statuses
    assert {name: len(tree[name]) for name in ("extra", "unsure") if tree[name]} == left
    assert tree["all_right"] == (code == 0) == (set(statuses) == {"right"} and not left)
    assert code in (prescription.ALL_RIGHT, prescription.NOT_ALL_RIGHT)


def test_the_text_names_drugs_places_and_photos_that_cannot_be_read(tmp_path, monkeypatch):
    bad = str(tmp_path / "bad.png")
    code, text = checked(tmp_path, monkeypatch, f"{R},1\n{G},1", RED, STRANGE, flags=[bad])
    lines = text.splitlines()
    assert lines[0].split() == ["right", "1/1", R, "가나정", "0mg"]
    assert lines[1].split()[:3] == ["missing", "0/1", G]
    assert "photo.png 70,40 30×30  unknown pill, nearest" in lines[2]
    assert lines[3:] == [f"not read        {bad}", "NOT all right"]
    assert checked(tmp_path, monkeypatch, f"{R},1", RED, flags=[bad])[0] == code == 3


@pytest.mark.parametrize(
    "text", ["", "code,count", f"{R}", f"{R},0", f"{R},x", f"{R},1,2", ",1", f"{R},1\n{R},2"]
)
def test_an_unclear_prescription_is_refused(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=r"list\.csv"):
        prescription.read(path)


def test_an_edi_code_means_all_its_classes():
    table = classes()
    table.loc[3, "edi_codes"] = "222"
    [item] = prescription.items_of({"222": 1}, table)
    assert item.codes == {"K-000000", "K-000003"}
    tool = recogniser()
    tool.calibration = replace(tool.calibration, threshold=-0.1)
    pills = tool.recognise([frame((20, 40, 30, BETWEEN))], 4)[0]
    for codes, right in ((item.codes, True), ({"K-000000"}, False)):  # red or yellow, or red alone
        asked = replace(item, codes=frozenset(codes))
        answer = Answer("tray.png", pills, None)
        assert prescription.compare([asked], [answer]).all_right == right


def test_lines_that_share_a_drug_are_all_filled_where_that_is_possible():
    codes = ({R, G}, {R})
    items = [prescription.Item(str(at), 1, frozenset(own), "") for at, own in enumerate(codes)]
    pills = recogniser().recognise([frame((20, 40, 30, RED), (70, 40, 30, GREEN))], 4)[0]
    for order in (pills, pills[::-1]):
        assert prescription.compare(items, [Answer("tray.png", order, None)]).all_right


@pytest.mark.parametrize(
    ("text", "verdict", "right"),
    [("RD10", "agrees", True), ("RD1X", "agrees", False), ("RD10", "contradicts", False)],
)
def test_a_refused_pill_counts_if_its_imprint_spells_the_drug(text, verdict, right):
    [pill] = recogniser().recognise([frame((20, 40, 30, RED))], 4)[0]
    imprint = PillImprint(text, 0.9, verdict, ())
    refused = replace(pill, known=False, code=None, names=(), imprint=imprint)
    item = prescription.Item(R, 1, frozenset({R}), "", (("RD 10", ""),))
    assert prescription.compare([item], [Answer("tray.png", [refused], None)]).all_right == right
