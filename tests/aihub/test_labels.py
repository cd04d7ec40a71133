"""Every fault of a label: refused with a reason, or accepted with a note."""

import codecs
import json
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from make.aihub_tree import Shot, label_of
from pillsnap.aihub.decoding import KEYS_READ
from pillsnap.aihub.labels import DRUG_KEYS, Expected, LabelReading, parse

SHOT = Shot(("K-000030",), latitude=90, longitude=300)
EXPECTED = Expected("K-000030", f"{SHOT.stem}.png", 90, 300)


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    label = label_of(SHOT, "K-000030")
    change(label)
    return json.dumps(label, ensure_ascii=False).encode()


def image(**values: Any) -> bytes:
    return edited(lambda label: label["images"][0].update(values))


def annotation(**values: Any) -> bytes:
    return edited(lambda label: label["annotations"][0].update(values))


def notes(reading: LabelReading) -> list[str]:
    assert reading.label is not None, reading
    return [name for name, _ in reading.notes]


KOREAN = json.dumps(label_of(SHOT, "K-000030"), ensure_ascii=False)
GOOD = orjson.dumps(label_of(SHOT, "K-000030"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "label_not_json"),
        (b"{", "label_not_json"),
        (GOOD[:-40], "label_not_json"),
        (b"\xff\xfe\x00\x81\xff", "label_not_text"),
        (b"[]", "label_keys_missing"),
        (b"3", "label_keys_missing"),
        (b"{}", "label_keys_missing"),
        (edited(lambda label: label.pop("images")), "label_keys_missing"),
        (edited(lambda label: label.update(images=[])), "label_keys_missing"),
        (edited(lambda label: label.update(images=[3])), "label_keys_missing"),
        (edited(lambda label: label["images"].append({})), "label_with_several_images"),
        (edited(lambda label: label.pop("annotations")), "label_keys_missing"),
        (edited(lambda label: label.update(annotations=[])), "box_missing"),
        (
            edited(lambda label: label["annotations"].append(label["annotations"][0])),
            "label_with_several_annotations",
        ),
        (annotation(bbox=[]), "box_missing"),
        (annotation(bbox=None), "box_missing"),
        (annotation(bbox=[1, 2, 3]), "box_not_four_numbers"),
        (annotation(bbox=[1, 2, 3, 4, 5]), "box_not_four_numbers"),
        (annotation(bbox=["1", 2, 3, 4]), "box_not_four_numbers"),
        (annotation(bbox=[None, 2, 3, 4]), "box_not_four_numbers"),
        (annotation(bbox=[True, 2, 3, 4]), "box_not_four_numbers"),
        (annotation(bbox=[float("nan"), 2, 3, 4]), "box_not_four_numbers"),
        (annotation(bbox=[float("inf"), 2, 3, 4]), "box_not_four_numbers"),
        (annotation(bbox={"x": 1}), "box_not_a_list"),
        (annotation(bbox="1,2,3,4"), "box_not_a_list"),
        (annotation(bbox=[1, 2, 0, 4]), "box_without_area"),
        (annotation(bbox=[1, 2, 3, -4]), "box_without_area"),
        (annotation(bbox=[6567, 2, 300, 300]), "box_outside_frame"),
        (annotation(bbox=[10, 8889, 300, 300]), "box_outside_frame"),
        (annotation(bbox=[-1, 2, 300, 300]), "box_outside_frame"),
        (annotation(bbox=[700, 2, 300, 300]), "box_outside_frame"),
        (annotation(bbox=[10**400, 2, 3, 4]), "box_outside_frame"),
        (image(width=None), "frame_size_invalid"),
        (image(width="976"), "frame_size_invalid"),
        (image(height=0), "frame_size_invalid"),
        (image(height=10**30), "frame_size_invalid"),
        (image(dl_mapping_code="K-000031"), "code_contradiction"),
        (image(drug_N="K-000031"), "code_contradiction"),
        (image(drug_N="K"), "code_contradiction"),
        (image(dl_mapping_code=30), "code_contradiction"),
        (image(file_name="K-000030_0_2_0_1_90_320_200.png"), "label_of_another_photo"),
        (b'{"images":' + b"[" * 100_000, "label_not_json"),
        (
            GOOD.replace(b'"bbox":', b'"note":"a: b","bbox":[1,2,3,4],"bbox":'),
            "label_key_duplicated",
        ),
    ],
)  # fmt: skip
def test_a_label_that_cannot_be_used_has_its_reason(content, reason):
    reading = parse(content, EXPECTED)
    assert reading.label is None
    assert reading.reason == reason


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (codecs.BOM_UTF8 + GOOD, "label_with_byte_order_mark"),
        (KOREAN.encode("cp949"), "label_in_cp949"),
        (KOREAN.encode("euc-kr"), "label_in_cp949"),
        (GOOD[:-1] + b" , }", "label_with_trailing_comma"),
        (GOOD.replace(b'"thick":6.35', b'"thick":NaN'), "label_with_nan"),
        (annotation(bbox=[10.4, 20, 30, 40], area=1200), "box_not_integer"),
        (annotation(area=1), "box_area_differs"),
        (annotation(area=None), "box_area_differs"),
        (image(dl_mapping_code=None, drug_N=None), "label_without_code"),
        (image(dl_name=None, print_front=None), "label_with_nulls"),
        (image(camera_lo=320), "view_differs_from_name"),
        (image(camera_la="60"), "view_differs_from_name"),
    ],
)  # fmt: skip
def test_a_label_with_an_irregularity_is_accepted_with_a_note(content, note):
    assert notes(parse(content, EXPECTED)) == [note]


@pytest.mark.parametrize(
    "content",
    [
        image(dl_idx=29),
        image(dl_idx=None),
        image(item_seq="196000030", camera_la="90", camera_lo="300", size="200"),
        image(camera_lo=None),
        image(file_name=None),
        image(drug_N=" k-000030"),
        image(width=976.0),
        GOOD.replace(b'"width":976', b'"width":976,"width":976'),
        edited(lambda label: label["annotations"][0].update(category_id="K-000031")),
        edited(lambda label: label.update(categories=[{"id": 9, "name": "K-000031"}])),
    ],
)  # fmt: skip
def test_varying_types_and_meaningless_ids_are_accepted_without_a_note(content):
    assert notes(parse(content, EXPECTED)) == []


CP949 = image(dl_name="똠방각하정").decode().encode("cp949")
CONTROLS = edited(lambda label: None).replace("시험정".encode(), b"a\\n\\u0000\\ud800b", 1)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (CP949, "똠방각하정"),
        (image(dl_name='a,] ",} b')[:-1] + b",}", 'a,] ",} b'),
        (image(dl_name=unicodedata.normalize("NFD", "시험정")), "시험정"),
        (CONTROLS, "a   b 30밀리그램"),
        *((image(dl_name=value), "") for value in ([], {}, True, ["K"], {"a": [1]}, None)),
    ],
)
def test_a_name_is_clean_text_in_nfc(content, name):
    label = parse(content, EXPECTED).label
    assert label and label.drug.drug_name == name


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        ("643303740,A01200351", "643303740|A01200351"),
        (" 643303740 , ,643303740,", "643303740"),
        ("", ""),
        (643303740, "643303740"),
        (643303740.0, "643303740"),
        (["1", "2"], "1|2"),
    ],
)
def test_edi_codes_are_joined_without_blanks_and_duplicates(value, codes):
    label = parse(image(di_edi_code=value), EXPECTED).label
    assert label and label.drug.edi_codes == codes
    label = parse(image(**dict.fromkeys(DRUG_KEYS)), EXPECTED).label
    assert label and set(label.drug) == {""}


@pytest.mark.parametrize("key", KEYS_READ)
@pytest.mark.parametrize("between", [b":", b" : ", b"\t:\n"])
def test_a_duplicate_key_is_found_however_it_is_spaced(key, between):
    content = GOOD.replace(key, key + between + b"0," + key, 1)
    assert content != GOOD
    assert parse(content, EXPECTED).reason == "label_key_duplicated"


HOSTILE = (
    b'\\"', b'"', b'"",', b",", b",]", b", ", b"[", b"\\", b'"bbox":1,', b"9", b"{},", b"NaN,",
    b'"\\\\",', b"\xff", "가".encode("cp949"),
)  # fmt: skip


@pytest.mark.parametrize("repeated", HOSTILE)
@pytest.mark.parametrize("start", [b'{"images":["', b'{"images":[', b""])
def test_hostile_text_takes_time_in_proportion_to_its_length(start, repeated):
    for size in (2 << 10, 16 << 10, 1 << 20):
        content = (start + repeated * size)[:size]
        taken_s = []
        for _ in range(3):  # the shortest: one may have a garbage collection of the whole process
            begun_s = time.process_time()
            assert parse(content, EXPECTED).label is None
            taken_s.append(time.process_time() - begun_s)
        assert min(taken_s) < max(0.1, size / (1 << 20))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip
CONTENTS = {
    "bytes": st.binary(max_size=200),
    "damage": st.builds(
        lambda at, damage: GOOD[:at] + damage + GOOD[at + len(damage) :],
        st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=6),
    ),
    "image fields": st.builds(
        lambda key, value: image(**{key: value}),
        st.sampled_from(sorted(label_of(SHOT, "K-000030")["images"][0])), JSON,
    ),
    "boxes": JSON.map(lambda value: annotation(bbox=value)),
    "trees": JSON.map(lambda value: json.dumps(value).encode()),
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTENTS)
@settings(deadline=None)  # the machine may be busy
@given(st.data())
def test_any_content_gives_a_box_or_a_reason(kind, data):
    reading = parse(data.draw(CONTENTS[kind]), EXPECTED)
    assert (reading.label is None) == bool(reading.reason)
    if reading.label is not None:
        x, y, w, h, width, height, _ = reading.label
        assert 0 <= x < x + w <= width and 0 <= y < y + h <= height
