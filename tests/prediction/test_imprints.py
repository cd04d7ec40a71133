"""Imprints beside the names: what predict, check and the table say of them."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from make.drawn_models import BLUE, GREEN, RED, STRANGE, classes, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import MachineError
from pillsnap.imprint.reader import Reading
from pillsnap.imprint.weigh import Ratios
from pillsnap.prediction import enrolment, imprints, load, output, pairs
from pillsnap.prediction.gallery import Entry, Gallery
from pillsnap.prediction.load import Loaded
from pillsnap.recognition import certainty

PRINTS = {"K-000000": ("RD10", ""), "K-000001": ("GN20", "마크"), "K-000003": ("YL30", "")}


class Told:
    """A reader that reads what each pill's colour says."""

    def __init__(self, texts):
        self.texts = texts

    def read(self, crops):
        return [
            Reading(self.texts.get(tuple(crop[crop.shape[0] // 2, crop.shape[1] // 2]), ""), 0.9)
            for crop in crops
        ]


def table_of_classes():
    """Classes with every column that their table has."""
    table = classes()
    for side in (0, 1):
        column = ("print_front", "print_back")[side]
        table[column] = [PRINTS.get(code, ("", ""))[side] for code in table["mapping_code"]]
    for column in ("drug_shape", "color_class1", "color_class2"):
        table[column] = ""
    table["item_seq"] = [str(900 + at) for at in range(len(table))]
    table["train_pills"] = 20
    return table


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Classes with imprints in a project without an imported register."""
    monkeypatch.chdir(tmp_path)
    table = table_of_classes()
    table.to_csv("classes.csv", index=False)

    def loaded(texts):
        reading = imprints.Imprints(Told(texts), table, tmp_path / "classes.csv")
        return Loaded(recogniser(), 2, 200_000, "torch", "demo", tmp_path / "no", 0, reading)

    return loaded


PHOTO = frame((20, 40, 30, RED), (70, 40, 30, GREEN), (120, 40, 30, BLUE), (170, 40, 30, STRANGE))


def pills_of(loaded):
    (found,) = loaded.recognise([PHOTO], 3)
    return {tuple(PHOTO[p.box[1] + 15, p.box[0] + 15]): p for p in found}


def test_verdicts_and_the_drugs_that_fit_a_refused_or_contradicted_pill(project):
    pills = pills_of(project({RED: "RD1O", GREEN: "RD10", BLUE: "XY77", STRANGE: "GN20"}))
    red, green, blue, strange = (pills[colour].imprint for colour in (RED, GREEN, BLUE, STRANGE))
    assert (red.verdict, red.candidates) == ("agrees", ())
    assert green.verdict == "contradicts"
    assert [drug.code for drug in green.candidates] == ["K-000000"]
    assert (blue.verdict, blue.candidates) == ("unsure", ())  # its drug has no imprint
    assert [drug.code for drug in strange.candidates] == ["K-000001"]
    looks = {colour: certainty.of(pill) for colour, pill in pills.items()}
    assert [looks[colour] for colour in (RED, GREEN, BLUE, STRANGE)] == [
        "confident", "doubtful", "confident", "unknown",
    ]  # fmt: skip


def test_where_val_says_so_a_contradicted_pill_is_refused_and_ratios_are_vals(project, tmp_path):
    texts, ratios = Told({RED: "XY77", GREEN: "RD10"}), Ratios(2.0, 1.0, 0.25)
    table = (table_of_classes(), tmp_path / "classes.csv")
    own, val = (imprints.Imprints(texts, *table, *by_val) for by_val in ((), (ratios, True)))
    [plain] = recogniser().recognise([PHOTO], 4)
    for reading, is_refused in ((own, False), (val, True)):
        red, green = reading.added(PHOTO, plain)[:2]
        assert [pill.known for pill in (red, green)] == [not is_refused] * 2
        assert (red.code is None, red.names == ()) == (is_refused, is_refused)
        assert [drug.code for drug in green.imprint.candidates] == ["K-000000"]


@pytest.mark.parametrize("refuse", [False, True])
def test_a_contradicted_pair_is_refused_where_val_says_so(project, refuse):
    loaded = project({RED: "XY77"})
    fitted = loaded.recogniser.calibration
    loaded.recogniser.calibration = replace(fitted, refuse_contradicted=refuse)
    loaded.recogniser.classes = table_of_classes()
    [found] = loaded.recognise([frame((20, 40, 30, RED))], 4)
    pill = pairs.of(loaded, [output.Answer("a.png", found, None)] * 2, 1)
    assert pill.imprint.verdict == "contradicts"
    assert (pill.known, pill.code is None, pill.names == ()) == (not refuse, refuse, refuse)


BETWEEN = (250, 155, 60)  # as near to red as to yellow


@pytest.mark.parametrize(
    ("read", "code", "look"),
    [
        ("RD10", "K-000000", "confident"),
        ("YL30", "K-000003", "confident"),
        ("QUVW", None, "doubtful"),
        ("", None, "doubtful"),
    ],
)
def test_an_imprint_decides_between_two_drugs_of_one_look(project, read, code, look):
    loaded = project({BETWEEN: read})
    loaded.recogniser.calibration = replace(loaded.recogniser.calibration, threshold=-0.1)
    photo = [frame((20, 40, 30, BETWEEN))]
    [[plain]] = loaded.recogniser.recognise(photo, 4)
    [[pill]] = loaded.recognise(photo, 1)
    assert certainty.of(plain) == "doubtful"
    assert certainty.of(pill) == look
    assert pill.code == (code or plain.code) == pill.names[0]
    assert len(pill.candidates) == 1
    assert pill.confidence == pill.candidates[0].probability
    if code:
        assert pill.names == (code,)
        row = table_of_classes().set_index("mapping_code").loc[code]
        assert (pill.drug_name, "|".join(pill.edi_codes)) == (row["drug_name"], row["edi_codes"])
    if not read:
        assert pill.confidence == pytest.approx(plain.confidence)


def test_every_form_of_output_has_the_imprint_only_where_one_was_read(project):
    pills = pills_of(project({RED: "RD10", GREEN: "RD10"}))
    answers = [output.Answer("a.png", [pills[RED], pills[GREEN]], None)]
    assert output.answer_json(answers[0])["pills"][0]["imprint"]["text"] == "RD10"
    out = io.StringIO()
    output.write("csv", answers, out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [(row["imprint"], row["error"]) for row in rows] == [("RD10", ""), ("RD10", "")]
    out = io.StringIO()
    output.write("table", answers, out)
    assert "RD10 (contradicts)" in out.getvalue()
    bare = replace(pills[RED], imprint=None)
    assert "imprint" not in output.answer_json(output.Answer("a.png", [bare], None))["pills"][0]


def test_check_does_not_count_a_pill_that_reads_unlike_its_drug(project, tmp_path, monkeypatch):
    Image.fromarray(PHOTO[:, :110]).save(tmp_path / "photo.png")
    (tmp_path / "list.csv").write_text("K-000000,1\nK-000001,1\n")
    command = ["check", "photo.png", "--prescription", "list.csv"]
    for read, code in (({GREEN: "GN20"}, 0), ({GREEN: "RD10"}, 3)):
        monkeypatch.setattr(load, "load", lambda *_, read=read, **__: project(read))
        done = CliRunner().invoke(cli_use.app, command)
        assert done.exit_code == code, done.output
        assert ("reads RD10" in done.stdout) == (code == 3)
    done = CliRunner().invoke(cli_use.app, [*command, "--json"])
    assert len(json.loads(done.stdout)["unsure"]) == 1


@pytest.mark.parametrize(
    ("wanted", "installed", "opens"),
    [(None, False, False), (False, True, False), (True, False, MachineError)],
)
def test_reader_is_opened_if_asked_for_or_installed(monkeypatch, wanted, installed, opens):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    if opens is MachineError:
        with pytest.raises(MachineError, match="not installed") as refused:
            imprints.open_reader(wanted)
        assert refused.value.cure == "pip install --no-deps rapidocr==3.10.0"
    else:
        assert imprints.open_reader(wanted) is None


def test_crop_has_a_margin_inside_the_frame():
    picture = np.zeros((100, 200, 3), np.uint8)
    assert imprints.cut(picture, (0, 10, 40, 90)).shape == (94, 42, 3)


def test_an_enrolled_drug_has_no_recorded_imprint(project, tmp_path):
    own = recogniser()
    own.classes = table_of_classes()
    Image.fromarray(frame((40, 50, 70, STRANGE))).save(tmp_path / "new.png")
    drug = Entry("K-123456", "new", ("7",), ())
    photos = [tmp_path / "new.png"]
    gallery = enrolment.enrol(own, Gallery("sha", 0, ()), drug, photos, 200_000)
    tool = enrolment.with_gallery(own, gallery)
    assert tool.classes.notna().all(axis=None)
    reading = imprints.Imprints(Told({STRANGE: "GN20"}), tool.classes, tmp_path / "classes.csv")
    frames = [frame((40, 50, 70, STRANGE))]
    (pill,) = reading.added(frames[0], tool.recognise(frames, top=3)[0])
    assert (pill.code, pill.imprint.verdict) == ("K-123456", "unsure")
