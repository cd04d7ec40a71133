"""Corrections: read with their lines, applied to photos, counted; the opposite restores all."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from make.aihub_tree import write_tree
from make.orders import COMMITTED, at_scale
from pillsnap.dataset import manifest
from pillsnap.errors import DataError
from pillsnap.formats import fingerprint
from pillsnap.manifest import build, corrected, corrections, tables
from pillsnap.manifest.corrections import BOX, COLUMNS, Correction, PhotoPill

CODES = [f"K-{number:06d}" for number in range(1, 9)]
A, B = CODES[:2]
COMBOS = [tuple(CODES[at : at + 3]) for at in range(6)]
WANTED = COMMITTED.scales["demo"].model_copy(
    update={
        "samples": 200, "classes": 8, "combination_share": 0.2, "min_train_per_class": 8,
        "min_val_per_class": 2, "test_unknown_pills": 0,
    }
)  # fmt: skip
HEAD = ",".join(COLUMNS)
SIZE = 100, 80
TWO = [PhotoPill(A, (1, 2, 30, 40), 0), PhotoPill(A, (50, 2, 30, 40), 1), PhotoPill(B, (9,) * 4, 2)]


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    write_tree(root, CODES, combos=COMBOS)
    at_demo = at_scale("demo", WANTED)
    return root, build.build(root, at_demo, fingerprint.take(root), lambda done, total: None)


def row(path, code, action, new_code="", box=(), note="", place="demo.csv:2"):
    return Correction(path, code, action, new_code, tuple(box), note, place)


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "corrections" / "demo.csv"
    rows = [
        row('a,"b".png', A, "recode", B, note='two\nlines, "quoted"'),
        row("약.png", "", "add", "다솜벨정 20mg", (0, 1, 2, 3)),
        row("c.png", "", "ok", box=(4, 5, 6, 7)),
    ]
    assert corrections.read(path) == []
    corrections.write(path, rows)
    read = corrections.read(path)
    assert [one._replace(place="demo.csv:2") for one in read] == rows
    assert [one.place.rpartition(":")[2] for one in read] == ["3", "4", "5"]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b",,,,,,,,\r\n")
    assert [one.action for one in corrections.read(path)] == ["recode", "add", "ok"]


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (f"a.png,{A},remove,,,,,,", ":2: action is 'remove', not one of delete, recode, move"),
        (f"a.png,{A},delete", ":2: 3 values instead of 9"),
        ("a.png,,delete,,,,,,", ":2: delete needs mapping_code"),
        (f",{A},delete,,,,,,", ":2: delete needs image_path"),
        (f"a.png,{A},recode,,,,,,", ":2: recode needs new_code"),
        (f"a.png,{A},move,,,,,,", ":2: move needs box"),
        (f"a.png,{A},add,{B},1,2,3,4,", ":2: add takes no mapping_code"),
        (f"a.png,{A},delete,{B},,,,,", ":2: delete takes no new_code"),
        (f"a.png,{A},recode,K-12345,,,,,", ":2: 'K-12345' is not a K-code"),
        (f"a.png,{A},move,,1,2,3,,", ":2: box '1 2 3 ' is not four whole numbers"),
        (f"a.png,{A},move,,1,2,-3,4,", ":2: box '1 2 -3 4' is not four whole numbers"),
        (f"a.png,{A},move,,1,2,0,4,", ":2: box 1 2 0 4 has no area"),
        (f'a.png,"{A},ok,,,,,,', ":"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_line(tmp_path, line, fact):
    path = tmp_path / "demo.csv"
    path.write_text(f"{HEAD}\n{line}\n", "utf-8")
    with pytest.raises(DataError) as refused:
        corrections.read(path)
    assert f"{path}{fact}" in refused.value.fact
    assert (
        f"delete line 2 of {path}" in refused.value.cure or "Save it as CSV" in refused.value.cure
    )


@pytest.mark.parametrize("content", [b"", b"image_path,action\n", f"{HEAD}\n\xb0".encode("cp1252")])
def test_a_file_with_other_columns_or_of_another_encoding_is_refused(tmp_path, content):
    path = tmp_path / "demo.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="UTF-8 with the columns image_path,mapping_code"):
        corrections.read(path)


@pytest.mark.parametrize(
    ("one", "after"),
    [
        (row("p", B, "delete"), TWO[:2]),
        (row("p", A, "delete", box=TWO[1].box), [TWO[0], TWO[2]]),
        (row("p", A, "recode", B, TWO[0].box), [TWO[0]._replace(code=B), *TWO[1:]]),
        (row("p", A, "move", box=(55, 2, 9, 9)),
         [TWO[0], TWO[1]._replace(box=(55, 2, 9, 9)), TWO[2]]),
        (row("p", "", "add", A, (0, 0, 100, 80)), [*TWO, PhotoPill(A, (0, 0, 100, 80))]),
        (row("p", "", "ok", box=(1, 1, 1, 1)), TWO),
    ],
)  # fmt: skip
def test_what_an_action_does(one, after):
    assert corrections.apply(TWO, SIZE, one) == after


@pytest.mark.parametrize(
    ("one", "fact"),
    [
        (row("p", "K-000005", "delete"), "No label of p fit K-000005; its labels: K-000001 at 1 2"),
        (row("p", A, "delete"), "2 labels of p fit K-000001;"),
        (row("p", A, "recode", B, (1, 1, 1, 1)), "No label of p fit K-000001 at 1 1 1 1;"),
        (row("p", A, "move", box=(90, 70, 5, 5)), "2 labels of p fit"),
        (row("p", "", "add", B, (9,) * 4), "K-000002 at 9 9 9 9 is labelled already"),
        (row("p", B, "move", box=(90, 70, 11, 5)), "not inside the photo, 100 x 80 px"),
    ],
)
def test_a_row_that_fits_no_single_label_is_refused(one, fact):
    with pytest.raises(DataError, match=r"Correct or delete line 2 of demo\.csv") as refused:
        corrections.apply(TWO, SIZE, one)
    assert fact in refused.value.fact


def csvs(selection, out):
    report = tables.write(selection, out)
    names = [*(f"manifest_{split}.csv" for split in manifest.SPLITS), "classes.csv"]
    return [(out / name).read_bytes() for name in names], report


def drawn(out):
    return pd.concat(manifest.read(out / f"manifest_{name}.csv") for name in ("train", "val"))


def test_corrections_are_applied_counted_and_undone_by_their_opposite(chosen, tmp_path):
    root, selection = chosen
    before, _ = csvs(selection, tmp_path / "a")
    rows = drawn(tmp_path / "a")
    combos = rows[rows["image_type"] == "combination"].drop_duplicates("image_path")
    first, second, third, fourth = combos[:4].to_dict("records")
    boxes = [tuple(one[name] for name in BOX) for one in (first, second, third, fourth)]
    new_box = (boxes[2][0] + 1, *boxes[2][1:])
    there = [
        row(first["image_path"], first["mapping_code"], "delete"),
        row(second["image_path"], second["mapping_code"], "recode", "K-000777"),
        row(third["image_path"], third["mapping_code"], "move", box=new_box),
        row(fourth["image_path"], "", "add", "드림정 5mg", (0, 0, 5, 5)),
        row(fourth["image_path"], "", "ok", box=(1, 1, 1, 1)),
    ]
    back = [
        row(first["image_path"], "", "add", first["mapping_code"], boxes[0]),
        row(second["image_path"], "K-000777", "recode", second["mapping_code"]),
        row(third["image_path"], third["mapping_code"], "move", box=boxes[2]),
        row(fourth["image_path"], "드림정 5mg", "delete"),
    ]
    after, report = csvs(corrected.correct(selection, there, root), tmp_path / "b")
    assert report["corrections"]["used"] == {"add": 1, "delete": 1, "move": 1, "ok": 1, "recode": 1}
    changed = drawn(tmp_path / "b").merge(rows, how="outer", indicator=True)
    new = changed[changed["_merge"] == "left_only"].set_index("mapping_code")
    assert set(new.index) == {"K-000777", third["mapping_code"], "드림정 5mg"}
    assert new.loc["K-000777", ["class_index", "known", "drug_name"]].tolist() == [
        -1, False, "K-000777",
    ]  # fmt: skip
    assert tuple(new.loc[third["mapping_code"], list(BOX)]) == new_box
    assert (root / new.loc["드림정 5mg", "label_path"]).is_file()
    assert len(changed[changed["_merge"] == "right_only"]) == 3
    assert csvs(corrected.correct(selection, [*there, *back], root), tmp_path / "c")[0] == before
    assert after != before and csvs(selection, tmp_path / "d")[0] == before


def test_a_photo_of_another_scale_is_a_finding_and_a_missing_one_is_refused(chosen):
    root, selection = chosen
    frames = selection.candidates
    unused = frames.photo_path(int(np.flatnonzero(selection.choice.split == -1)[0]))
    after = corrected.correct(replace(selection), [row(unused, A, "delete")], root)
    assert after.corrections == {"rows": 1, "used": {}}
    assert after.findings.examples[corrected.UNUSED_PHOTO] == ["demo.csv:2"]
    with pytest.raises(DataError, match=r"there is no photo train/x\.png") as refused:
        corrected.correct(selection, [row("train/x.png", A, "ok")], root)
    assert refused.value.cure == "Correct or delete line 2 of demo.csv."
