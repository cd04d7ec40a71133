"""`pillsnap review`: the sheet of an evaluated project, its answers, and edits of other tools."""

import csv
import io
import json
import shutil

import orjson
import pandas as pd
import pytest
from typer.testing import CliRunner

from make import evaluated_project
from make.browser import Tab
from pillsnap.cli import app
from pillsnap.dataset import manifest
from pillsnap.dataset.crops import CropStore
from pillsnap.errors import DataError
from pillsnap.imprint.reader import Reading
from pillsnap.manifest import corrections
from pillsnap.places import Places

CODE = "K-000000"


@pytest.fixture
def places(tmp_path_factory, tmp_path, monkeypatch):
    """A copy of an evaluated project with manifests and photos by name, as working folder."""
    made = evaluated_project.made(tmp_path_factory.getbasetemp())
    folder = tmp_path / "project"
    shutil.copytree(made.artifacts_dir.parents[1], folder)
    monkeypatch.chdir(folder)
    places = Places(folder / "artifacts" / "demo", folder / "data" / "demo", "demo")
    for split in manifest.SPLITS:
        rows = CropStore(places.crops(split)).table
        size = {"image_width": 300, "image_height": 200}
        rows = rows.assign(**size, label_path="", edi_codes="", drug_name="드림정", part="train")
        rows = rows.assign(drug_state=0, shard="")[list(manifest.COLUMNS)]
        manifest.write(places.artifacts_dir / f"manifest_{split}.csv", rows)
        for path in rows["image_path"]:
            (places.data_dir / path).parent.mkdir(exist_ok=True)
            (places.data_dir / path).touch()
    places.sampling.write_text("{}")
    return places


def run(*arguments):
    answer = CliRunner().invoke(app, ["review", "--device", "cpu", *map(str, arguments)])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.output


def content_of(path):
    html = path.read_text("utf-8")
    text = html.partition('type="application/json">')[2].partition("</script>")[0]
    return html, orjson.loads(text)


def label(places, split="val"):
    row = manifest.read(places.artifacts_dir / f"manifest_{split}.csv").iloc[0]
    return row["image_path"], row["mapping_code"]


def write(path, *rows):
    path.write_text("\n".join([",".join(corrections.COLUMNS), *rows, ""]), "utf-8")
    return path


def test_the_sheet_shows_suspects_with_pictures_and_without_the_answered(places):
    assert "of " in run("--count", 5)
    html, content = content_of(places.artifacts_dir / "review.html")
    assert "http" not in html.replace('"http', "") and len(content["suspects"]) == 5
    scores = [one["score"] for one in content["suspects"]]
    assert scores == sorted(scores, reverse=True)
    for one in content["suspects"]:
        assert one["crop"].startswith("data:image/jpeg") and one["reasons"]
        assert not one["code"] or content["names"][one["code"]]
    first = content["suspects"][0]
    line = [first["image_path"], first["code"], "ok", "", *map(str, first["box"]), ""]
    text = io.StringIO()
    csv.writer(text).writerow(line)
    assert "1 rows added, 0 were there" in run(
        "--apply", write(places.data_dir / "a.csv", text.getvalue().strip())
    )
    run("--count", 5, "--out", "again.html")
    _, after = content_of(places.artifacts_dir.parents[1] / "again.html")
    assert after["found"] < content["found"]
    keys = [(one["image_path"], one["code"], one["box"]) for one in after["suspects"]]
    assert (first["image_path"], first["code"], first["box"]) not in keys


def press(tab, *keys):
    for key in keys:
        tab.press(key, ord(key.upper()))


def test_answers_by_key_are_kept_and_downloaded_as_corrections(places, tab, browser):
    run("--count", 6)
    page = places.artifacts_dir / "review.html"
    tab.open(page.as_uri(), 390, "light", "ko")
    assert tab.value("document.documentElement.scrollWidth") == 390
    assert tab.shows("#count", "6개 중 0개 답변") and tab.shows("h1", "라벨 검토")
    press(tab, "j", "o", "k", "o", "u", "o")  # answered, back to it, undone on the next, answered
    assert tab.comes_true("content.suspects.filter((one) => answers[keyOf(one)]).length === 2")
    last = "document.querySelector('article:last-child')"
    tab.value(f"{last}.querySelector('[data-action=delete], [data-action=add]').click()")
    tab = Tab(browser)
    tab.open(page.as_uri())
    assert tab.shows("#count", "3 of 6 answered")
    answers = places.data_dir / "answers.csv"
    answers.write_text(tab.value("csv()"), "utf-8")
    actions = [row.action for row in corrections.read(answers)]
    assert actions[:2] == ["ok", "ok"] and actions[2] in ("delete", "add")
    assert "3 rows added" in run("--apply", answers)
    assert tab.complaints == [] and {url[:5] for url in tab.requests} <= {"file:", "data:", "blob:"}


def test_a_move_without_another_box_is_no_answer(places, tab):
    run("--count", 400)
    tab.open((places.artifacts_dir / "review.html").as_uri())
    tab.value("answers = {}")  # the browser has those of other tests
    tab.value("move = document.querySelector('[data-action=move]'); one = move.closest('article')")
    label = "content.suspects[[...document.querySelectorAll('article')].indexOf(one)].box"
    for box, answered in ((label, 0), ("[7, 8, 20, 20]", 1), ("[290, 8, 20, 20]", 0)):
        fill = (
            "one.querySelectorAll('.sides input').forEach((side, at) => { side.value = box[at]; })"
        )
        tab.value(f"box = {box}; {fill}; move.click()")
        assert tab.shows("#count", f"{answered} of ")
        assert (",move,,7,8,20,20," in tab.value("csv()")) == bool(answered)


def test_imprints_are_read_where_the_reader_is_installed(places, monkeypatch):
    pytest.importorskip("rapidocr")
    reading = Reading("ABC", 0.9)
    monkeypatch.setattr("pillsnap.imprint.reader.Reader.read", lambda _, crops: [reading])
    classes = manifest.read_classes(places.classes)
    monkeypatch.setattr(
        manifest, "read_classes", lambda _: classes.assign(print_front="XYZ", print_back="")
    )
    run("--count", 3, "--imprint")
    shown = content_of(places.artifacts_dir / "review.html")[1]["suspects"]
    labelled = [one for one in shown if one["code"] in set(classes["mapping_code"])]
    assert all(one["read"] == "ABC" for one in shown)
    assert all("imprint" in one["reasons"] for one in labelled)


def test_answers_are_added_once_and_checked_whole(places):
    path, code = label(places)
    other, other_code = label(places, "train")
    kept = corrections.path_of("demo")
    answers = write(places.data_dir / "a.csv", f"{path},{code},recode,K-000777,,,,,note")
    assert "1 rows added, 0 were there" in run("--apply", answers)
    assert "0 rows added, 1 were there" in run("--apply", answers)
    before = kept.read_bytes()
    answers = write(
        places.data_dir / "b.csv",
        f"{other},{other_code},delete,,,,,,",
        f"{path},{code},delete,,,,,,",
    )
    with pytest.raises(DataError, match=r"its labels: K-000777") as refused:
        run("--apply", answers)  # the first file has recoded it
    assert refused.value.cure == f"Correct or delete line 3 of {answers}."
    assert kept.read_bytes() == before
    answers = write(places.data_dir / "b.csv", f"{other},{other_code},delete,,,,,,")
    assert "1 rows added" in run("--apply", answers)  # after the cure
    assert len(corrections.read(kept)) == 2
    places.sampling.write_text('{"corrections": {"rows": 1}}')  # the first is in the manifests
    with pytest.raises(DataError, match="there is no photo"):
        run("--apply", write(places.data_dir / "c.csv", f"x.png,{code},ok,,,,,,"))
    with pytest.raises(DataError, match=r"none\.csv is missing"):
        run("--apply", "none.csv")


def test_edits_of_an_export_become_corrections(places):
    assert CliRunner().invoke(app, ["export-data", "--format", "coco", "out"]).exit_code == 0
    path = places.artifacts_dir.parents[1] / "out/annotations.json"
    tree = json.loads(path.read_text("utf-8"))
    moved, gone = tree["annotations"][:2]
    moved["bbox"] = [41, 50, 60, 60]
    tree["annotations"] = [one for one in tree["annotations"] if one is not gone]
    path.write_text(json.dumps(tree), "utf-8")
    assert "2 rows added" in run("--from", path)
    assert "0 rows added" in run("--from", path)
    rows = pd.read_csv(corrections.path_of("demo"))
    assert set(rows["action"]) == {"move", "delete"}
    assert rows.loc[rows["action"] == "move", "box_x"].tolist() == [41]
