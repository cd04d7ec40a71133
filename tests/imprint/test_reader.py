"""The reader on drawn pills: relief, print, any angle, uneven light, nothing to read."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pillsnap.errors import CheckpointError, MachineError
from pillsnap.imprint import contrast, reader
from pillsnap.imprint.spelling import look_alike

pytest.importorskip("rapidocr", reason="the OCR models are an extra: pillsnap[imprint]")
PX = 240


def pill(text="", turn=0, relief=18, shape=(200, 200), tone=(205, 200, 190), light=0.0):
    """A crop [PX, PX, 3] of a pill on a dark ground; `light`: how much darker its right is."""
    size = 2 * PX
    ground = Image.new("RGB", (size, size), (60, 70, 80))
    pen = ImageDraw.Draw(ground)
    box = [size / 2 - shape[0], size / 2 - shape[1], size / 2 + shape[0], size / 2 + shape[1]]
    pen.rounded_rectangle(box, min(shape), fill=tone)
    font = ImageFont.load_default(110)
    lines = text.split()
    for number, line in enumerate(lines):
        middle = (size / 2, size / 2 + 120 * (number - (len(lines) - 1) / 2))
        for step, shade in ((2, relief), (0, -relief)):  # the lit edge below the dark one
            ink = tuple(int(np.clip(c + shade, 0, 255)) for c in tone)
            pen.text((middle[0] + step, middle[1] + step), line, ink, font, "mm")
    turned = ground.rotate(turn, Image.Resampling.BICUBIC, fillcolor=(60, 70, 80))
    pixels = np.asarray(turned.resize((PX, PX), Image.Resampling.LANCZOS), np.float64)
    shade = 1 - light * np.linspace(0, 1, PX)[None, :, None]
    return (pixels * shade).astype(np.uint8)


@pytest.fixture(scope="module")
def opened():
    return reader.Reader(1)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("TV18", {}),
        ("TV18", {"relief": -18}),  # raised
        ("TV18", {"relief": 120}),  # printed
        ("TV18", {"tone": (60, 40, 40), "relief": 12}),  # dark pill
        ("TV18", {"light": 0.5}),
        ("TV18", {"turn": 90}),
        ("TV18", {"turn": 180}),
        ("TV18", {"turn": 25}),
        ("TV 18", {}),  # two lines, in their order
        ("TV 18", {"turn": 180}),
        ("500", {"shape": (220, 90)}),
    ],
)
def test_reads(opened, text, drawn):
    (reading,) = opened.read([pill(text, **drawn)])
    assert look_alike(reading.text) == look_alike(text.replace(" ", ""))
    assert 0.75 < reading.confidence <= 1


@pytest.mark.parametrize("shape", [(200, 200), (220, 90)])
def test_reads_nothing_on_a_blank_pill_and_all_pills_of_a_list(opened, shape):
    blank, written = pill(shape=shape), pill("TV18")
    readings = opened.read([blank, written, blank[:40, :40]])
    assert [each.text for each in readings] == ["", "TV18", ""]
    assert readings[0].confidence == 0
    assert opened.read([]) == []


def test_reads_a_line_across_the_middle_where_none_is_found(opened, monkeypatch):
    monkeypatch.setattr(reader, "_lines", lambda probability: iter(()))
    readings = opened.read([pill("TV18"), pill("TV18", turn=90), pill()])
    assert [each.text for each in readings] == ["TV18", "TV18", ""]


@pytest.mark.parametrize(("text", "once"), [("TV18 TV18", "TV18"), ("TV 18", "TV18")])
def test_a_line_that_is_repeated_counts_once(opened, text, once):
    assert look_alike(opened.read([pill(text)])[0].text) == look_alike(once)


@pytest.mark.parametrize(
    ("text", "once"), [("SCF02SCF02", "SCF02"), ("ABAB", "AB"), ("11", "11"), ("ABA", "ABA")]
)
def test_a_text_on_both_halves_of_a_capsule_counts_once(text, once):
    assert reader._once(text) == once


def test_a_region_aside_is_no_pill():
    crop = pill("TV18")
    whole = contrast.pill_mask(crop)
    crop[:, -PX // 4 :] = 0  # a shadow darker than the pill is light
    crop[crop > 100] = 70
    centred = contrast.pill_mask(crop)
    assert abs(centred.mean() - whole.mean()) < 0.2
    assert (centred[PX // 2] == centred[PX // 2, ::-1]).mean() > 0.98


def test_contrast_is_that_of_the_pill_under_any_light():
    weak, strong = contrast.even(pill("TV18", relief=9)), contrast.even(pill("TV18", relief=30))
    uneven = contrast.even(pill("TV18", light=0.5))
    for other in (strong, uneven):
        assert np.corrcoef(weak.ravel(), other.ravel())[0, 1] > 0.7
    assert weak.std() > 10
    assert weak[0, 0] == contrast.GREY  # the ground


def test_damaged_or_missing_models_are_refused_with_the_command(tmp_path, monkeypatch):
    (tmp_path / "rapidocr/models").mkdir(parents=True)
    (tmp_path / "rapidocr/__init__.py").touch()
    spec = reader.importlib.util.spec_from_file_location(
        "rapidocr", tmp_path / "rapidocr/__init__.py"
    )
    monkeypatch.setattr(reader.importlib.util, "find_spec", lambda name: spec)
    for name in reader.FILES:
        (tmp_path / "rapidocr/models" / name).write_bytes(b"other")
    with pytest.raises(CheckpointError, match="not the file of rapidocr") as refused:
        reader.Reader()
    assert "pip install --no-deps rapidocr==3.10.0" in refused.value.cure
    monkeypatch.setattr(reader.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="not installed"):
        reader.Reader()
