"""The synthetic AI Hub tree: format, determinism, refusals."""

import dataclasses
import json
import multiprocessing
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pillsnap.demo import Camera, DemoSpec, DrawnView, draw_frame, draw_tree, invent_pills, lay_out
from pillsnap.demo.plan import plan_tree
from pillsnap.errors import DataError, MachineError, ParameterError

SPEC = DemoSpec(
    classes=6,
    unknown_classes=2,
    photos_per_group=1,
    combination_folders=3,
    test_combination_folders=2,
    unknown_photos_per_group=1,
    frame_width_px=122,
    frame_height_px=160,
    noise=0.8,
)
SEED = 7
CODES = r"K-\d{6}(?:-\d{6}){0,3}"
STEM = CODES + r"_0_[012]_[01]_[012]_(?:60|70|75|90)_\d{3}_200"
PHOTO = re.compile(
    rf"train/images/single/TS_\d+_single/K-\d{{6}}/{STEM}\.png"
    rf"|val/images/single/VS_\d+_single/K-\d{{6}}/{STEM}\.png"
    rf"|train/images/combination/TS_\d_combo/{CODES}/(?:\._)?{STEM}\.png"
    rf"|val/images/combination/VS_1_combo/{CODES}/{STEM}\.png"
    rf"|(?:train|val)/images/combination/[TV]S_\d_combo/{CODES}/{CODES}_index\.png"
)
LABEL = re.compile(
    rf"(?:train|val)/labels/single/[TV]L_\d+_single/K-\d{{6}}_json/{STEM}\.json"
    rf"|(?:train|val)/labels/combination/[TV]L_\d_combo/{CODES}_json/K-\d{{6}}/{STEM}\.json"
)


def _draw(root: Path, spec: DemoSpec = SPEC, seed: int = SEED, num_workers: int = 1) -> list[int]:
    """Draw; return the counts that progress was called with."""
    counts: list[int] = []
    draw_tree(root, spec, seed, num_workers, lambda done, total: counts.append(done))
    return counts


def _content(root: Path) -> dict[str, bytes]:
    parts = [root / "train", root / "val"]
    paths = [path for part in parts for path in part.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("tree")
    _draw(root)
    return _content(root)


def _photos(tree: dict[str, bytes]) -> list[str]:
    names = [path for path in tree if path.endswith(".png")]
    return [path for path in names if "_index" not in path and "/._" not in path]


def _labels(tree: dict[str, bytes]) -> dict[str, dict]:
    return {path: json.loads(data) for path, data in tree.items() if path.endswith(".json")}


def _codes(tree: dict[str, bytes], under: str) -> set[str]:
    """The codes in the names of folders of photos below `under`."""
    folders = {path.split("/")[4] for path in tree if path.startswith(under)}
    return {code for folder in folders for code in folder[2:].split("-")}


def test_paths_have_the_format_of_aihub(tree: dict[str, bytes]) -> None:
    assert [path for path in tree if not (PHOTO.fullmatch(path) or LABEL.fullmatch(path))] == []
    photo = cv2.imdecode(np.frombuffer(tree[_photos(tree)[0]], np.uint8), cv2.IMREAD_UNCHANGED)
    assert (photo.shape, photo.dtype) == ((160, 122, 3), np.uint8)


def test_every_code_in_a_photos_name_has_one_label(tree: dict[str, bytes]) -> None:
    wanted = sorted(
        (Path(path).stem, f"K-{code}")
        for path in _photos(tree)
        for code in Path(path).stem.split("_")[0][2:].split("-")
    )
    found = [(Path(p).stem, x["images"][0]["drug_N"]) for p, x in _labels(tree).items()]
    assert sorted(found) == wanted


def test_combination_labels_are_in_the_folder_of_their_code(tree: dict[str, bytes]) -> None:
    labels = {p: x["images"][0] for p, x in _labels(tree).items() if "/combination/" in p}
    assert {p.split("/")[5] == x["dl_mapping_code"] for p, x in labels.items()} == {True}


def test_combination_folders_hold_a_contact_sheet(tree: dict[str, bytes]) -> None:
    photos = {str(Path(path).parent) for path in _photos(tree) if "/combination/" in path}
    sheets = {str(Path(path).parent) for path in tree if path.endswith("_index.png")}
    assert sheets == photos


def test_labels_agree_with_the_file_name(tree: dict[str, bytes]) -> None:
    for path, label in _labels(tree).items():
        image = label["images"][0]
        _, _, back, side, light, latitude, longitude, size = Path(path).stem.split("_")
        assert image["file_name"] == f"{Path(path).stem}.png"
        assert image["drug_dir"] == ("앞면", "뒷면")[int(side)]
        assert image["light_color"] == ("전구색", "주광색", "주백색")[int(light)]
        assert (image["back_color"] == "연회색 배경") == (back == "2")
        angles = (image["camera_la"], image["camera_lo"], image["size"])
        assert angles == (int(latitude), int(longitude), int(size))
        assert 47 <= len(image) <= 49
    boxes = np.array([x["annotations"][0]["bbox"] for x in _labels(tree).values()])
    assert boxes[:, :2].min() >= 0
    assert boxes[:, 2:].min() > 0
    assert ((boxes[:, :2] + boxes[:, 2:]) <= (122, 160)).all()


def test_singles_cover_backs_lights_and_sides(tree: dict[str, bytes]) -> None:
    stems = [Path(p).stem.split("_") for p in _photos(tree) if p.startswith("train/images/single")]
    assert len({(stem[0], *stem[2:5]) for stem in stems}) == 6 * 18


def test_combinations_are_seen_from_three_latitudes(tree: dict[str, bytes]) -> None:
    views: dict[str, list[str]] = {}
    for path in _photos(tree):
        if "/combination/" in path:
            stem = Path(path).stem.split("_")
            views.setdefault(stem[0], []).append("_".join([stem[2], *stem[4:7]]))
    triple = ["2_2_70_000", "2_2_75_000", "2_2_90_000"]
    assert [sorted(v) for v in views.values()] == [triple] * 5


def test_unknown_pills_are_in_val_alone_and_one_combination_code_has_no_single_photo(tree) -> None:
    unknown, singles = _codes(tree, "val/images/single"), _codes(tree, "train/images/single")
    assert len(unknown) == 2
    assert not unknown & _codes(tree, "train/images/")
    assert _codes(tree, "val/images/combination") <= singles
    assert len(_codes(tree, "train/images/combination") - singles) == 1


def test_a_code_is_in_two_shards(tree: dict[str, bytes]) -> None:
    folders = {tuple(p.split("/")[3:5]) for p in tree if p.startswith("train/images/single")}
    codes = [code for _, code in folders]
    assert len(codes) == len(set(codes)) + 1


def test_planned_codes_of_combinations_are_chosen_evenly() -> None:
    spec = dataclasses.replace(SPEC, classes=26, combination_folders=50)
    folders = [f for f in plan_tree(spec, SEED) if f.is_combination and f.part == "train"]
    codes = [pill.code for folder in folders for pill in folder.pills]
    known = {f.name for f in plan_tree(spec, SEED) if f.part == "train" and not f.is_combination}
    counts = [codes.count(code) for code in sorted(known & set(codes))]
    assert len(counts) == 24
    assert min(counts) >= 6


def test_bytes_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, tree: dict[str, bytes]
) -> None:
    _draw(tmp_path, num_workers=2)
    assert _content(tmp_path) == tree


def test_another_seed_draws_another_tree_and_a_second_call_nothing(
    tmp_path: Path, tree: dict[str, bytes]
) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "part.arrow").write_bytes(b"crops")
    assert _draw(tmp_path, seed=SEED + 1)[-1] == len(_photos(tree))
    assert _draw(tmp_path, seed=SEED + 1) == []
    assert not set(_content(tmp_path)) & set(tree)
    assert (tmp_path / "crops" / "part.arrow").read_bytes() == b"crops"


def test_another_spec_replaces_the_tree_and_a_lost_file_is_drawn_again(
    tmp_path: Path, tree: dict[str, bytes]
) -> None:
    _draw(tmp_path, dataclasses.replace(SPEC, classes=5, unknown_classes=1, combination_folders=1))
    _draw(tmp_path)
    assert _content(tmp_path) == tree
    (tmp_path / _photos(tree)[0]).unlink()
    _draw(tmp_path)
    assert _content(tmp_path) == tree


def test_an_interrupted_draw_is_repeated(tmp_path: Path, tree: dict[str, bytes]) -> None:
    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_tree(tmp_path, SPEC, SEED, 1, interrupt)
    assert not (tmp_path / "train").exists()
    _draw(tmp_path)
    assert _content(tmp_path) == tree


def test_a_draw_killed_between_its_renames_is_repeated(
    tmp_path: Path, tree: dict[str, bytes]
) -> None:
    _draw(tmp_path)
    stamp = json.loads((tmp_path / "demo.json").read_text())
    (tmp_path / "demo.json").write_text(json.dumps({**stamp, "files": None}))
    (tmp_path / "val").rename(tmp_path / ".drawing")
    _draw(tmp_path)
    assert _content(tmp_path) == tree
    assert not (tmp_path / ".drawing").exists()


def test_a_tree_that_was_not_drawn_here_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="was not drawn by the demo"):
        _draw(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"frame_width_px": 10**7, "frame_height_px": 10**7}, MachineError, "GB"),
        ({"classes": 4}, ParameterError, r"demo\.classes is 4"),
        ({"photos_per_group": 73}, ParameterError, r"demo\.photos_per_group is 73"),
        ({"combination_folders": 500}, ParameterError, "cannot be made of"),
    ],
)
def test_an_impossible_tree_is_refused(tmp_path: Path, changes, error, words: str) -> None:
    with pytest.raises(error, match=words):
        _draw(tmp_path, dataclasses.replace(SPEC, **changes))


@pytest.mark.slow
def test_a_lost_process_is_named(tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(MachineError, match="was killed"):
        draw_tree(tmp_path, dataclasses.replace(SPEC, classes=20), SEED, 2, kill)


def test_imprints_differ_among_pills_of_one_look() -> None:
    sides = [
        (pill.look, imprint.text, imprint.mark)
        for pill in invent_pills(200, SEED)
        for imprint in (pill.front, pill.back)
    ]
    assert len(set(sides)) == len(sides)


def test_some_codes_share_shape_and_colour() -> None:
    looks = [pill.look for pill in invent_pills(34, SEED)]
    shared = sum(looks.count(look) > 1 for look in looks)
    assert 8 <= shared <= 26  # distinguishable by imprint only; all of them would be too hard


def test_drug_names_are_unique_and_edi_codes_a_list_single_blank_or_null() -> None:
    drugs = [pill.drug for pill in invent_pills(1500, SEED)]
    assert len({drug.name for drug in drugs}) == len(drugs)
    codes = [drug.edi_codes for drug in drugs[:40]]
    assert (codes.count(None), codes.count("")) == (2, 4)
    assert sum("," in code for code in codes if code) == 30


def test_pills_are_as_large_as_in_the_real_frames() -> None:
    camera, rng = Camera(976, 1280, 0.0), np.random.default_rng(SEED)
    widths = [
        draw_frame(lay_out([pill], camera, rng), DrawnView(2, 2, 0, 75, 40), camera, rng).boxes[0][
            2
        ]
        for pill in invent_pills(12, SEED)
    ]
    assert min(widths) >= 125
    assert max(widths) <= 529


def test_boxes_are_tight() -> None:
    camera, rng = Camera(488, 640, 0.0), np.random.default_rng(SEED)
    pills = [p for p in invent_pills(60, SEED) if p.look.colors == ("빨강",)]
    frame = draw_frame(lay_out(pills[:1], camera, rng), DrawnView(2, 2, 0, 90, 20), camera, rng)
    reddish = frame.photo[..., 0].astype(int) - frame.photo[..., 1] > 40
    red = cv2.boundingRect(reddish.astype(np.uint8))
    assert np.abs(np.subtract(red, frame.boxes[0])).max() <= 2


def test_pills_of_a_combination_do_not_overlap() -> None:
    camera, rng = Camera(488, 640, 0.0), np.random.default_rng(SEED)
    frame = draw_frame(
        lay_out(invent_pills(4, SEED), camera, rng), DrawnView(2, 2, 0, 70, 0), camera, rng
    )
    cover = np.zeros((640, 488), int)
    for x, y, w, h in frame.boxes:
        cover[y + h // 4 : y + 3 * h // 4, x + w // 4 : x + 3 * w // 4] += 1
    assert len(frame.boxes) == len(frame.codes) == 4
    assert cover.max() == 1


def test_front_and_back_look_different() -> None:
    camera, pill = Camera(244, 320, 0.0), invent_pills(6, SEED)[0]
    placed = lay_out([pill], camera, np.random.default_rng(1))
    fronts, backs = (
        draw_frame(placed, DrawnView(2, 2, side, 90, 0), camera, np.random.default_rng(1)).photo
        for side in (0, 1)
    )
    assert not np.array_equal(fronts, backs)
