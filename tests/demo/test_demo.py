import json
import multiprocessing
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from pillsnap.dataset.names import View
from pillsnap.demo.backdrops import PHONE
from pillsnap.demo.photos import draw_frame, lay_out
from pillsnap.demo.pills import invent_pills, invent_unknown
from pillsnap.demo.plan import plan_tree
from pillsnap.demo.tree import draw_tree
from pillsnap.errors import DataError, MachineError, ParameterError
from pillsnap.params import DemoParams

DEMO = DemoParams.model_construct(
    classes=6, unknown_classes=2, unknown_twins=1, unknown_photos=18, phone_photos=2,
    photos_per_group=1, combination_folders=3, test_combination_folders=2,
    frame_width_px=122, frame_height_px=160, noise=0.8,
)  # fmt: skip
SEED = 7
CODES = r"K-\d{6}(?:-\d{6}){0,3}"
STEM = CODES + r"_0_(?:[012]_[01]_[012]|3_[01]_3)_(?:60|70|75|90)_\d{3}_200"
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


def _demo(**changes: float) -> DemoParams:
    return DEMO.model_copy(update=changes)


def _draw(root: Path, demo: DemoParams = DEMO, seed: int = SEED, num_workers: int = 1) -> list[int]:
    counts: list[int] = []
    draw_tree(root, demo, seed, num_workers, lambda done, total: counts.append(done))
    return counts


def _content(root: Path) -> dict[str, bytes]:
    paths = [p for part in ("train", "val") for p in (root / part).rglob("*") if p.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("tree")
    _draw(root)
    return _content(root)


def _photos(tree) -> list[str]:
    return [p for p in tree if p.endswith(".png") and "_index" not in p and "/._" not in p]


def _labels(tree) -> dict[str, dict]:
    return {path: json.loads(data) for path, data in tree.items() if path.endswith(".json")}


def _codes(tree: dict[str, bytes], under: str) -> set[str]:
    folders = {path.split("/")[4] for path in tree if path.startswith(under)}
    return {code for folder in folders for code in folder[2:].split("-")}


def test_paths_have_the_format_of_aihub(tree):
    assert [path for path in tree if not (PHOTO.fullmatch(path) or LABEL.fullmatch(path))] == []
    photo = cv2.imdecode(np.frombuffer(tree[_photos(tree)[0]], np.uint8), cv2.IMREAD_UNCHANGED)
    assert (photo.shape, photo.dtype) == ((160, 122, 3), np.uint8)


def test_every_code_in_a_photos_name_has_one_label_in_its_folder(tree):
    wanted = sorted(
        (Path(path).stem, f"K-{code}")
        for path in _photos(tree)
        for code in Path(path).stem.split("_")[0][2:].split("-")
    )
    codes = {path: label["images"][0]["drug_N"] for path, label in _labels(tree).items()}
    assert sorted((Path(path).stem, code) for path, code in codes.items()) == wanted
    assert all(path.split("/")[5] == c for path, c in codes.items() if "/combination/" in path)


def test_labels_agree_with_the_file_name(tree):
    for path, label in _labels(tree).items():
        image = label["images"][0]
        _, _, back, side, light, latitude, longitude, size = Path(path).stem.split("_")
        assert image["file_name"] == f"{Path(path).stem}.png"
        assert image["drug_dir"] == ("앞면", "뒷면")[int(side)]
        assert image["light_color"] == ("전구색", "주광색", "주백색", "휴대폰")[int(light)]
        assert (image["back_color"] == "연회색 배경") == (back == "2")
        angles = (image["camera_la"], image["camera_lo"], image["size"])
        assert angles == (int(latitude), int(longitude), int(size))
        assert 47 <= len(image) <= 49
    boxes = np.array([x["annotations"][0]["bbox"] for x in _labels(tree).values()])
    assert (boxes[:, :2].min() >= 0) and (boxes[:, 2:].min() > 0)
    assert ((boxes[:, :2] + boxes[:, 2:]) <= (122, 160)).all()


def test_singles_show_all_backs_lights_and_sides_and_combinations_three_latitudes(tree):
    stems = [Path(path).stem.split("_") for path in _photos(tree)]
    studio = {(stem[0], *stem[2:5]) for stem in stems if "-" not in stem[0][2:] and stem[4] != "3"}
    assert len(studio) == 8 * 18
    views = Counter("_".join([stem[2], *stem[4:7]]) for stem in stems if "-" in stem[0][2:])
    assert views == dict.fromkeys(["2_2_70_000", "2_2_75_000", "2_2_90_000"], 5)
    assert sum(path.endswith("_index.png") for path in tree) == 5  # a contact sheet in each folder


def test_unknown_pills_are_in_val_alone_and_codes_without_singles_or_in_two_shards_exist(tree):
    unknown, singles = _codes(tree, "val/images/single"), _codes(tree, "train/images/single")
    assert len(unknown - singles) == 2
    assert not (unknown - singles) & _codes(tree, "train/images/")
    assert _codes(tree, "val/images/combination") <= singles
    assert len(_codes(tree, "train/images/combination") - singles) == 1
    folders = {tuple(p.split("/")[3:5]) for p in tree if p.startswith("train/images/single")}
    codes = [code for _, code in folders]
    assert len(codes) == len(set(codes)) + 1


def test_a_phone_photographs_trained_pills_in_val_alone_and_twins_have_a_trained_look():
    demo = _demo(classes=24, unknown_classes=12, unknown_twins=4, unknown_photos=5, phone_photos=3)
    singles = [folder for folder in plan_tree(demo, SEED) if not folder.is_combination]
    trained = {folder.name: folder.pills[0] for folder in singles if folder.part == "train"}
    tested = {folder.name: folder for folder in singles if folder.part == "val"}
    assert tested.keys() > trained.keys()
    for name in trained:
        lights = [(view.back, view.light) for view in tested[name].views]
        assert lights == [(PHONE, PHONE)] * 3
    unknown = [tested[name] for name in tested.keys() - trained.keys()]
    assert {len(set(folder.views)) for folder in unknown} == {5}
    looks = {pill.look: pill for pill in trained.values()}
    twins = [one.pills[0] for one in unknown if one.pills[0].look in looks]
    assert (len(unknown), len(twins)) == (12, 4)
    for twin in twins:
        like = [pill for pill in trained.values() if pill.look == twin.look]
        assert any((p.rgb, p.long_mm) == (twin.rgb, twin.long_mm) for p in like)
        assert not {side.text for side in twin.imprints} & {
            s.text for p in like for s in p.imprints
        }


def test_unknown_pills_of_a_tree_with_all_looks_share_looks_with_trained_ones():
    trained = invent_pills(1000, SEED)
    unknown = invent_unknown(trained, 20, 0, SEED)
    assert len({pill.code for pill in [*trained, *unknown]}) == 1020
    looks = {pill.look for pill in trained}
    assert any(pill.look in looks for pill in unknown)


def test_planned_codes_of_combinations_are_chosen_evenly():
    folders = plan_tree(_demo(classes=26, combination_folders=50), SEED)
    train = [folder for folder in folders if folder.part == "train"]
    codes = [pill.code for folder in train if folder.is_combination for pill in folder.pills]
    known = {folder.name for folder in train if not folder.is_combination}
    counts = [codes.count(code) for code in sorted(known & set(codes))]
    assert len(counts) == 24
    assert min(counts) >= 6


def test_another_seed_draws_another_tree_and_a_second_call_nothing(tmp_path, tree):
    (tmp_path / "other").write_bytes(b"other")
    assert _draw(tmp_path, seed=SEED + 1)[-1] == len(_photos(tree))
    assert _draw(tmp_path, seed=SEED + 1) == []
    assert not set(_content(tmp_path)) & set(tree)
    assert (tmp_path / "other").read_bytes() == b"other"


def test_other_parameters_replace_the_tree_and_a_lost_file_is_drawn_again(tmp_path, tree):
    _draw(tmp_path, _demo(classes=5, unknown_classes=1, combination_folders=1))
    _draw(tmp_path, num_workers=2)
    assert _content(tmp_path) == tree  # whatever the number of processes
    (tmp_path / _photos(tree)[0]).unlink()
    _draw(tmp_path)
    assert _content(tmp_path) == tree


def test_an_interrupted_or_killed_draw_is_repeated(tmp_path, tree):
    def interrupt(done: int, total: int):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_tree(tmp_path, DEMO, SEED, 1, interrupt)
    assert not (tmp_path / "train").exists()
    _draw(tmp_path)
    assert _content(tmp_path) == tree
    stamp = json.loads((tmp_path / "demo.json").read_text())  # as if killed between its renames
    (tmp_path / "demo.json").write_text(json.dumps({**stamp, "files": None}))
    (tmp_path / "val").rename(tmp_path / ".drawing")
    _draw(tmp_path)
    assert _content(tmp_path) == tree
    assert not (tmp_path / ".drawing").exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"frame_width_px": 10**7, "frame_height_px": 10**7}, MachineError, "GB"),
        ({"combination_folders": 500}, ParameterError, "cannot be made of"),
    ],
)
def test_an_impossible_tree_and_one_that_was_not_drawn_here_are_refused(
    tmp_path, changes, error, words
):
    with pytest.raises(error, match=words):
        _draw(tmp_path, _demo(**changes))
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="was not drawn by the demo"):
        _draw(tmp_path)


@pytest.mark.slow
def test_a_lost_process_is_named(tmp_path):
    def kill(done: int, total: int):
        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(MachineError, match="was killed"):
        draw_tree(tmp_path, _demo(classes=20), SEED, 2, kill)


def test_some_codes_share_a_look_and_drug_names_are_unique_with_several_kinds_of_edi_codes():
    pills = invent_pills(200, SEED)
    sides = [(pill.look, imprint.text) for pill in pills for imprint in pill.imprints]
    assert len(set(sides)) == len(sides)
    looks = [pill.look for pill in invent_pills(34, SEED)]
    shared = sum(looks.count(look) > 1 for look in looks)
    assert 8 <= shared <= 26  # distinguishable by imprint only; all of them would be too hard
    drugs = [pill.drug.fields for pill in invent_pills(1500, SEED)]
    assert len({drug["dl_name"] for drug in drugs}) == len(drugs)
    codes = [drug["di_edi_code"] for drug in drugs[:40]]
    assert (codes.count(None), codes.count("")) == (2, 4)
    assert sum("," in code for code in codes if code) == 30


def _photo(pills, width_px: int, latitude: int, longitude: int = 0, side: int = 0):
    """A photo [h, w, 3] of these pills without noise, and their boxes."""
    demo = _demo(frame_width_px=width_px, frame_height_px=width_px * 1280 // 976, noise=0.0)
    rng = np.random.default_rng(SEED)
    view = View(0, 2, side, 2, latitude, longitude, 200)
    return draw_frame(lay_out(pills, demo, rng), view, demo, rng)


def test_boxes_are_tight_and_pills_as_large_as_in_the_real_frames():
    widths = [_photo([pill], 976, 75, 40)[1][0][2] for pill in invent_pills(12, SEED)]
    assert 125 <= min(widths) <= max(widths) <= 529
    pill = next(p for p in invent_pills(60, SEED) if p.look.colors == ("빨강",))
    photo, boxes = _photo([pill], 488, 90, 20)
    reddish = cv2.subtract(photo[..., 0], photo[..., 1]) > 40
    assert np.abs(np.subtract(cv2.boundingRect(reddish.astype(np.uint8)), boxes[0])).max() <= 2


def test_pills_of_a_combination_do_not_overlap_and_front_and_back_differ():
    _, boxes = _photo(invent_pills(4, SEED), 488, 70)
    cover = np.zeros((640, 488), int)
    for x, y, w, h in boxes:
        cover[y + h // 4 : y + 3 * h // 4, x + w // 4 : x + 3 * w // 4] += 1
    assert (len(boxes), cover.max()) == (4, 1)
    front, back = (_photo(invent_pills(6, SEED)[:1], 244, 90, side=side)[0] for side in (0, 1))
    assert not np.array_equal(front, back)
