"""`pillsnap check`: the verdict on drawn photos, and what a prescription may look like."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from make.drawn_models import BLUE, GREEN, RED, STRANGE, classes, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import DataError
from pillsnap.prediction import load, prescription
from pillsnap.prediction.load import Loaded

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
