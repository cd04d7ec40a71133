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

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))


def loaded(batch_size: int = 2, max_pixels: int = 200_000) -> Loaded:
    return Loaded(recogniser(), batch_size, max_pixels, "torch", "demo", Path("none.json"))


def photo(path: Path, pixels: np.ndarray = PAIR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def answers(*paths, codes=None, annotate_dir=None, **limits):
    return list(predict.recognise(loaded(**limits), paths, 2, codes, annotate_dir))


def printed(form: str, found) -> str:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")
    output.write(form, found, out)
    out.flush()
    return out.buffer.getvalue().decode("utf-8")


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
    codes = [answer.pills[0].code for answer in answers(*paths, batch_size=2)]
    assert codes == ["K-000000", "K-000001", "K-000002", "K-000000", "K-000001"]
    [answer] = answers(photo(tmp_path / "a.png"))
    assert answer.pills == recogniser().recognise([PAIR], top=2)[0]
    [answer] = answers(tmp_path / "a.png", codes=["K-000001"])
    assert {c.code for pill in answer.pills for c in pill.candidates} == {"K-000001"}
    of_130_000_pixels = predict._batches(paths, loaded(9, 130_000))  # a photo has 60,000
    assert [len(batch) for batch in of_130_000_pixels] == [2, 2, 1]


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
    found = answers(*predict.expand(["a.png", name, "a*.png"]))
    assert [answer.path for answer in found] == ["a.png", name]
    assert (found[0].error, len(found[0].pills)) == (None, 2)
    assert words in found[1].error.fact


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
    paths = [photo(tmp_path / name) for name in photos]
    answers(*paths, annotate_dir=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == written
    with pytest.raises(DataError, match="cannot be written: ") as refusal:
        answers(*paths, annotate_dir=paths[0] / "out")
    assert "--annotate FOLDER" in refusal.value.cure


def test_a_crop_is_classified_whole_without_another_margin() -> None:
    crop = frame((0, 0, 300, RED))
    single = load.for_single(loaded())
    pill = single.recogniser.recognise([crop], top=1)[0][0]
    assert (pill.box, pill.code, pill.box_confidence) == ((0, 0, 300, 200), "K-000000", 1.0)
    assert single.recogniser.cut(crop, np.array([[0, 0, 300, 200]])).shape == (1, 24, 24, 3)


def test_json_lists_every_picture_with_its_pills_or_its_error(tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"words")
    found = answers(photo(tmp_path / "a.png"), tmp_path / "broken.png")
    first, second = json.loads(printed("json", found))
    assert first.keys() == {"path", "pills"}
    pill = first["pills"][0]
    assert (pill["box"], pill["edi_codes"]) == ([20, 30, 60, 60], ["111", "222"])
    assert len(pill["candidates"]) == 2
    assert (second["path"], second["pills"]) == (str(tmp_path / "broken.png"), [])
    assert second["error"]["cure"] == "Save it as PNG or JPEG."
    assert json.loads(printed("json", [])) == []


def test_csv_and_table_show_pills_refused_pictures_and_those_without_a_pill(tmp_path) -> None:
    none = photo(tmp_path / "none.png", frame())
    found = answers(photo(tmp_path / "a.png"), none, tmp_path / "x.png")
    rows = list(csv.DictReader(io.StringIO(printed("csv", found))))
    assert [(Path(row["path"]).name, row["pill"], row["code"]) for row in rows] == [
        ("a.png", "1", "K-000000"), ("a.png", "2", "K-000001"), ("none.png", "", ""),
        ("x.png", "", ""),
    ]  # fmt: skip
    assert rows[0]["edi_codes"] == "111|222"
    assert rows[0]["candidates"].startswith("K-000000:")
    assert "is missing" in rows[3]["error"]
    text = printed("table", found)
    assert "none.png  no pill found" in text
    assert "x.png  refused" in text


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_file_name_that_is_not_utf_8_is_printed_all_the_same(tmp_path, form: str) -> None:
    name = os.fsdecode(b"\xb0\xa1.png")  # cp949, as in a zip file from Windows
    found = answers(photo(tmp_path / f"a{name}"), tmp_path / name)
    text = printed(form, found)
    assert "a\ufffd\ufffd.png" in text
    assert "K-000000" in text


def test_the_table_shows_confident_doubtful_and_unknown_pills(tmp_path) -> None:
    pixels = frame((20, 30, 60, RED), (150, 40, 50, STRANGE))
    [answer] = answers(photo(tmp_path / "[red]a.png", pixels))
    known, unknown = answer.pills
    second = replace(known.candidates[1], probability=0.001)  # shown however unlikely it is
    doubtful = replace(known, confidence=0.899, candidates=(known.candidates[0], second))
    text = printed("table", [replace(answer, pills=[known, doubtful, unknown])])
    rows = [line for line in text.splitlines() if "×" in line and "box" not in line]
    assert "[red]a.png" in text  # not markup
    words = ("K-000000  가나정 0mg", ">99%", "doubtful 90%", second.code, "unknown")
    assert [[word in row for word in words] for row in rows] == [
        [True, True, False, False, False],
        [True, False, True, True, False],
        [False, False, False, False, True],
    ]
    assert unknown.candidates[0].code in rows[2]


def test_a_run_ends_with_exit_code_1_when_a_picture_was_refused(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(load, "load", lambda *_, **__: loaded())
    good = str(photo(tmp_path / "a.png", frame((20, 30, 60, RED), (150, 40, 50, STRANGE))))
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"words")
    for images, code in (([good], 0), ([good, str(bad)], 1)):
        with pytest.raises(typer.Exit) as end:
            cli_use.predict(images, as_json=True)
        assert end.value.exit_code == code
    printed = capsys.readouterr().err
    assert printed.count(f"{bad}: not a picture") == 1
    assert "2 pictures: 1 answered, 1 refused; 2 pills, 1 of them unknown" in printed
