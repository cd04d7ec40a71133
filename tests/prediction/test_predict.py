import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from make.drawn_models import BLUE, GREEN, RED, STRANGE, frame, recogniser
from pillsnap import cli_use
from pillsnap.errors import DataError, ParameterError
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


def test_a_folder_means_its_pictures_also_in_folders_below_sorted(tmp_path) -> None:
    names = ["b.png", "a.JPG", "sub/c.webp", "d.heic"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for other in ("._b.png", "readme.txt", "label.json"):
        (tmp_path / other).touch()
    found = predict.expand([str(tmp_path)])
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "a.JPG", "b.png", "d.heic", "sub/c.webp",
    ]  # fmt: skip


def test_a_glob_means_the_files_it_matches_and_nothing_is_named_twice(tmp_path) -> None:
    for name in ("a.png", "b.png", "c.txt"):
        (tmp_path / name).touch()
    found = predict.expand([str(tmp_path / "b.png"), str(tmp_path / "*.png")])
    assert [path.name for path in found] == ["b.png", "a.png"]


def test_a_name_with_the_signs_of_a_glob_is_a_file_first(tmp_path) -> None:
    path = tmp_path / "a[1].png"
    path.touch()
    assert predict.expand([str(path)]) == [path]


def test_a_name_nothing_stands_behind_is_kept_to_be_refused(tmp_path) -> None:
    assert predict.expand([str(tmp_path / "x*.png")]) == [tmp_path / "x*.png"]


def test_a_folder_without_pictures_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        predict.expand([str(tmp_path)])


def test_a_list_of_codes_knows_comments_blank_lines_and_a_byte_order_mark(tmp_path) -> None:
    path = tmp_path / "ward.txt"
    path.write_text("\ufeff# the ward's\nK-000001  # first\n\nK-000002\n", "utf-8")
    assert predict.read_codes(path) == ["K-000001", "K-000002"]


@pytest.mark.parametrize("content", [b"# nothing\n", b"\xff\xfe\x00"])
def test_a_list_without_codes_is_refused(tmp_path, content: bytes) -> None:
    path = tmp_path / "ward.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ward\.txt"):
        predict.read_codes(path)


def test_pictures_are_answered_in_order_whatever_the_batches(tmp_path) -> None:
    colours = [RED, GREEN, BLUE, RED, GREEN]
    paths = [photo(tmp_path / f"{i}.png", frame((20, 30, 60, c))) for i, c in enumerate(colours)]
    codes = [answer.pills[0].code for answer in answers(paths, batch_size=2)]
    assert codes == ["K-000000", "K-000001", "K-000002", "K-000000", "K-000001"]


def test_predicting_is_what_the_recogniser_says_of_the_same_frame(tmp_path) -> None:
    answer = answers([photo(tmp_path / "a.png")])[0]
    assert answer.pills == recogniser().recognise([PAIR], top=2)[0]


def test_a_batch_holds_no_more_pixels_than_one_picture_may_have(tmp_path) -> None:
    paths = [photo(tmp_path / f"{i}.png") for i in range(4)]  # of 60,000 pixels
    sizes = [len(batch) for batch in predict._batches(paths, loaded(9, 130_000))]
    assert sizes == [2, 2]


def test_a_picture_that_cannot_be_read_is_refused_and_the_rest_go_on(tmp_path, capsys) -> None:
    (tmp_path / "broken.png").write_bytes(b"words")
    paths = [photo(tmp_path / "a.png"), tmp_path / "broken.png", photo(tmp_path / "c.png")]
    tally = Tally()
    found = answers(paths, tally)
    assert [len(answer.pills) for answer in found] == [2, 0, 2]
    assert "not a picture" in found[1].error.fact
    assert "broken.png" in capsys.readouterr().err
    assert (tally.pictures, tally.refused, tally.pills, tally.unknown) == (3, 1, 4, 0)


def test_unknown_pills_are_counted(tmp_path) -> None:
    tally = Tally()
    answers([photo(tmp_path / "a.png", frame((20, 30, 60, STRANGE)))], tally)
    assert (tally.pills, tally.unknown) == (1, 1)


def test_only_listed_codes_are_named(tmp_path) -> None:
    answer = answers([photo(tmp_path / "a.png")], codes=["K-000001"])[0]
    assert {c.code for pill in answer.pills for c in pill.candidates} == {"K-000001"}


def test_annotated_pictures_of_equal_names_stand_beside_each_other(tmp_path) -> None:
    paths = [photo(tmp_path / "x/a.png"), photo(tmp_path / "y/a.png")]
    answers(paths, annotate_dir=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a-2_pills.jpg", "a_pills.jpg",
    ]  # fmt: skip


def test_a_ready_crop_is_named_whole_and_without_another_border() -> None:
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


def test_json_of_no_answers_is_an_empty_list() -> None:
    assert json.loads(printed("json", [])) == []


def test_csv_has_a_row_for_each_pill_and_one_for_a_picture_without(tmp_path) -> None:
    paths = [photo(tmp_path / "a.png"), photo(tmp_path / "none.png", frame())]
    rows = list(csv.DictReader(io.StringIO(printed("csv", answers(paths)))))
    assert [(Path(row["path"]).name, row["pill"], row["code"]) for row in rows] == [
        ("a.png", "1", "K-000000"), ("a.png", "2", "K-000001"), ("none.png", "", ""),
    ]  # fmt: skip
    assert rows[0]["edi_codes"] == "111|222"
    assert rows[0]["candidates"].startswith("K-000000:")


def test_csv_says_why_a_picture_was_refused(tmp_path) -> None:
    rows = list(csv.DictReader(io.StringIO(printed("csv", answers([tmp_path / "x.png"])))))
    assert "not here" in rows[0]["error"]


def test_the_table_names_pills_and_says_unknown_with_the_nearest(tmp_path) -> None:
    pixels = frame((20, 30, 60, RED), (150, 40, 50, STRANGE))
    text = printed("table", answers([photo(tmp_path / "a.png", pixels)]))
    known, unknown = [line for line in text.splitlines() if "×" in line and "box" not in line]
    assert "K-000000" in known
    assert "가나정 0mg" in known
    assert "unknown" in unknown
    assert "K-00000" in unknown


def test_the_table_takes_brackets_in_names_as_they_are(tmp_path) -> None:
    text = printed("table", answers([photo(tmp_path / "[red]a.png")]))
    assert "[red]a.png" in text


def test_the_table_says_refused_and_no_pill(tmp_path) -> None:
    paths = [photo(tmp_path / "none.png", frame()), tmp_path / "x.png"]
    text = printed("table", answers(paths))
    assert "none.png  no pill found" in text
    assert "x.png  refused" in text


def test_json_and_csv_at_once_are_refused() -> None:
    with pytest.raises(ParameterError, match="--json and --csv"):
        cli_use.predict([], as_json=True, csv=True)


def test_a_file_in_place_of_the_annotations_folder_is_refused(tmp_path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ParameterError, match="is a file"):
        cli_use.predict([], annotate=tmp_path / "out")


def test_a_strange_backend_is_refused() -> None:
    with pytest.raises(ParameterError, match="--backend"):
        load.load("tensorrt", None, "cpu")


def test_a_run_ends_with_exit_code_1_when_a_picture_was_refused(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(load, "load", lambda *_: loaded())
    good, bad = photo(tmp_path / "a.png"), tmp_path / "none.png"
    for images, code in (([str(good)], 0), ([str(good), str(bad)], 1)):
        with pytest.raises(typer.Exit) as end:
            cli_use.predict(images, as_json=True)
        assert end.value.exit_code == code
    assert (
        "2 pictures: 1 answered, 1 refused; 2 pills, 0 of them unknown" in capsys.readouterr().err
    )
