import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from make.drawn_models import BLUE, GREEN, RED, STRANGE, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import DataError
from pillsnap.prediction import load, output, predict
from pillsnap.prediction.load import Loaded
from pillsnap.prediction.predict import Tally

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))


def loaded(batch_size: int = 2, max_pixels: int = 200_000) -> Loaded:
    return Loaded(recogniser(), batch_size, max_pixels, "torch", "demo", Path("none.json"))


def photo(path: Path, pixels: np.ndarray = PAIR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def answers(paths, tally=None, codes=None, annotate_dir=None, **limits):
    tally = tally or Tally()
    found = predict.recognise(loaded(**limits), paths, 2, codes, annotate_dir, tally)
    return list(found)


def printed(form: str, found) -> str:
    out = io.StringIO()
    output.write(form, found, out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["."], ["a.JPG", "b.png", "d.heic", "sub/c.webp", "sub/dead.png"]),
        (["sub/*"], ["sub/c.webp", "sub/dead.png"]),
        (["b.png", "*.png"], ["b.png"]),  # named once
        (["[b].png"], ["[b].png"]),  # a file first, not a glob
        (["x*.png"], ["x*.png"]),  # nothing: kept to be refused
    ],
)
def test_folders_and_globs_mean_the_pictures_in_them(tmp_path, monkeypatch, asked, found) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub/album.png").mkdir(parents=True)
    Path("sub/dead.png").symlink_to("gone.png")
    others = ("._b.png", "readme.txt", "label.json")
    for name in ("b.png", "a.JPG", "d.heic", "sub/c.webp", *others):
        Path(name).touch()
    if asked == ["[b].png"]:
        Path("[b].png").touch()
    assert predict.expand(asked) == [Path(name) for name in found]


def test_a_list_of_codes_knows_comments_blank_lines_and_a_byte_order_mark(tmp_path) -> None:
    path = tmp_path / "ward.txt"
    path.write_text("\ufeff# the ward's\nK-000001  # first\n\nK-000002\n", "utf-8")
    assert predict.read_codes(path) == ["K-000001", "K-000002"]
    for content in (b"# nothing\n", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"ward\.txt"):
            predict.read_codes(path)


def test_pictures_are_answered_in_order_whatever_the_batches(tmp_path) -> None:
    colours = [RED, GREEN, BLUE, RED, GREEN]
    paths = [photo(tmp_path / f"{i}.png", frame((20, 30, 60, c))) for i, c in enumerate(colours)]
    codes = [answer.pills[0].code for answer in answers(paths, batch_size=2)]
    assert codes == ["K-000000", "K-000001", "K-000002", "K-000000", "K-000001"]
    [answer] = answers([photo(tmp_path / "a.png")])
    assert answer.pills == recogniser().recognise([PAIR], top=2)[0]


def test_a_batch_holds_no_more_pixels_than_one_picture_may_have(tmp_path) -> None:
    paths = [photo(tmp_path / f"{i}.png") for i in range(4)]  # of 60,000 pixels
    assert [len(batch) for batch in predict._batches(paths, loaded(9, 130_000))] == [2, 2]


def test_a_picture_that_cannot_be_read_is_refused_alone_and_all_are_counted(
    tmp_path, capsys
) -> None:
    (tmp_path / "broken.png").write_bytes(b"words")
    strange = photo(tmp_path / "c.png", frame((20, 30, 60, STRANGE)))
    tally = Tally()
    found = answers([photo(tmp_path / "a.png"), tmp_path / "broken.png", strange], tally)
    assert [len(answer.pills) for answer in found] == [2, 0, 1]
    assert "not a picture" in found[1].error.fact
    assert "broken.png" in capsys.readouterr().err
    assert (tally.pictures, tally.refused, tally.pills, tally.unknown) == (3, 1, 3, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("가" * 90 + ".png", "File name too long"),  # 274 bytes
        ("~no-such-user/a.png", "is missing"),
        ("unreadable.png", "cannot be read: "),
    ],
)
def test_an_error_of_the_system_refuses_that_picture_alone(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    Path("unreadable.png").symlink_to("/proc/self/mem")  # a regular file that gives EIO
    photo(Path("a.png"))
    found = answers(predict.expand(["a.png", name, "a*.png"]))
    assert [answer.path for answer in found] == ["a.png", name]
    assert (found[0].error, len(found[0].pills)) == (None, 2)
    assert words in found[1].error.fact


def test_only_listed_codes_are_considered(tmp_path) -> None:
    answer = answers([photo(tmp_path / "a.png")], codes=["K-000001"])[0]
    assert {c.code for pill in answer.pills for c in pill.candidates} == {"K-000001"}


@pytest.mark.parametrize(
    ("photos", "written"),
    [
        (["x/a.png", "y/a.png"], {"a_pills.jpg", "a-2_pills.jpg"}),
        ([f"{'가' * 82}{end}.png" for end in "12"], {f"{'가' * 66}{end}" for end in (
            "_pills.jpg", "-2_pills.jpg")}),
    ],
    ids=["equal names", "long names"],
)  # fmt: skip
def test_annotated_pictures_do_not_overwrite_each_other(tmp_path, photos, written) -> None:
    answers([photo(tmp_path / name) for name in photos], annotate_dir=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == written


def test_a_folder_for_annotations_that_cannot_be_made_is_refused(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written: ") as refusal:
        answers([photo(tmp_path / "a.png")], annotate_dir=tmp_path / "file/out")
    assert "--annotate FOLDER" in refusal.value.cure


def test_a_crop_is_classified_whole_without_another_margin() -> None:
    crop = frame((0, 0, 300, RED))
    single = load.for_single(loaded())
    pill = single.recogniser.recognise([crop], top=1)[0][0]
    assert (pill.box, pill.code, pill.box_confidence) == ((0, 0, 300, 200), "K-000000", 1.0)
    assert single.recogniser.cut(crop, np.array([[0, 0, 300, 200]])).shape == (1, 24, 24, 3)


def test_json_lists_every_picture_with_its_pills_or_its_error(tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"words")
    found = answers([photo(tmp_path / "a.png"), tmp_path / "broken.png"])
    first, second = json.loads(printed("json", found))
    assert first["path"].endswith("a.png")
    assert first["pills"][0]["box"] == [20, 30, 60, 60]
    assert first["pills"][0]["edi_codes"] == ["111", "222"]
    assert len(first["pills"][0]["candidates"]) == 2
    assert "error" not in first
    assert second["pills"] == []
    assert second["error"]["cure"] == "Save it as PNG or JPEG."
    assert json.loads(printed("json", [])) == []


def test_csv_has_a_row_for_each_pill_and_for_each_picture_without(tmp_path) -> None:
    paths = [photo(tmp_path / "a.png"), photo(tmp_path / "none.png", frame()), tmp_path / "x.png"]
    rows = list(csv.DictReader(io.StringIO(printed("csv", answers(paths)))))
    assert [(Path(row["path"]).name, row["pill"], row["code"]) for row in rows] == [
        ("a.png", "1", "K-000000"), ("a.png", "2", "K-000001"), ("none.png", "", ""),
        ("x.png", "", ""),
    ]  # fmt: skip
    assert rows[0]["edi_codes"] == "111|222"
    assert rows[0]["candidates"].startswith("K-000000:")
    assert "is missing" in rows[3]["error"]


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_file_name_that_is_not_utf_8_is_printed_all_the_same(tmp_path, form: str) -> None:
    name = os.fsdecode(b"\xb0\xa1.png")  # cp949, as in a zip file from Windows
    found = answers([photo(tmp_path / f"a{name}"), tmp_path / name])
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")
    output.write(form, found, stream)
    stream.flush()
    text = stream.buffer.getvalue().decode("utf-8")
    assert "a\ufffd\ufffd.png" in text
    assert "K-000000" in text


def test_the_table_shows_confident_doubtful_and_unknown_pills(tmp_path) -> None:
    pixels = frame((20, 30, 60, RED), (150, 40, 50, STRANGE))
    [answer] = answers([photo(tmp_path / "[red]a.png", pixels)])
    known, unknown = answer.pills
    second = replace(known.candidates[1], probability=0.001)  # shown however unlikely it is
    doubtful = replace(known, confidence=0.899, candidates=(known.candidates[0], second))
    text = printed("table", [replace(answer, pills=[known, doubtful, unknown])])
    rows = [line for line in text.splitlines() if "×" in line and "box" not in line]
    assert "[red]a.png" in text  # not markup
    assert [("K-000000  가나정 0mg" in row, "unknown" in row) for row in rows] == [
        (True, False), (True, False), (False, True),
    ]  # fmt: skip
    assert [[word in row for word in (">99%", "doubtful 90%", second.code)] for row in rows] == [
        [True, False, False], [False, True, True], [False, False, False],
    ]  # fmt: skip
    assert unknown.candidates[0].code in rows[2]


def test_the_table_shows_refused_and_no_pill(tmp_path) -> None:
    text = printed("table", answers([photo(tmp_path / "none.png", frame()), tmp_path / "x.png"]))
    assert "none.png  no pill found" in text
    assert "x.png  refused" in text


def test_a_run_ends_with_exit_code_1_when_a_picture_was_refused(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(load, "load", lambda *_: loaded())
    good, bad = photo(tmp_path / "a.png"), tmp_path / "none.png"
    for images, code in (([str(good)], 0), ([str(good), str(bad)], 1)):
        with pytest.raises(typer.Exit) as end:
            cli_use.predict(images, as_json=True)
        assert end.value.exit_code == code
    summary = "2 pictures: 1 answered, 1 refused; 2 pills, 0 of them unknown"
    assert summary in capsys.readouterr().err
