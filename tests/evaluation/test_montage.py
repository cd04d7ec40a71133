import matplotlib as mpl
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from make.made_answers import class_table, frame_answer, frames
from pillsnap import fonts
from pillsnap.evaluation import cards, montage
from pillsnap.evaluation.answers import FrameSet

GREY = np.full((64, 64, 3), 120, np.uint8)
CARD = cards.card(((GREY, "confidence 87%"), (None, "true class")), ("true K-000001 가나정",))


def test_the_korean_font_is_there_in_both_weights_and_matplotlib_stays_as_it_is():
    before = mpl.rcParams["font.family"]
    names = [ImageFont.truetype(str(fonts.korean_font_path(bold)), 12).getname() for bold in (0, 1)]
    assert names[0][0] == names[1][0] == "NanumGothic"
    assert mpl.rcParams["font.family"] == before
    assert len({bytes(montage.font(20).getmask(letter)) for letter in "가나다라"}) == 4


def test_a_montage_grows_by_rows_text_is_cut_and_frames_with_and_without_errors_are_shown():
    one, four = cards.sheet([CARD], ""), cards.sheet([CARD] * 4, "")
    assert four.width > 2.5 * one.width
    assert four.height > 1.8 * one.height
    assert cards.sheet([], "nothing").size[0] > 0
    assert montage.frame_montage([]).size[0] > 0
    face = montage.font(14)
    cut = montage.fitting("가나다라마바사 아자차카타파하", face, 80)
    assert cut.endswith("…")
    assert face.getlength(cut) <= 80
    assert montage.fitting("K-1", face, 80) == "K-1"
    some = [*frames().frames, frame_answer(9, "single", [1], [2])]
    shown = montage.choose(FrameSet(some))
    assert len(shown) == montage.FRAMES
    assert shown[-1] == len(some) - 1


def test_a_frame_shows_each_outcome_in_its_own_colour_and_labels_do_not_cover_each_other():
    assert len(set(montage.COLOURS.values())) == len(montage.COLOURS)
    frame = frame_answer(0, "combination", [1, 2], [1, 3])
    pixels = np.zeros((100, 460, 3), np.uint8)
    picture = np.asarray(montage.framed(pixels, frame, class_table()))
    for outcome in ("right", "wrong_name"):
        colour = ImageColor.getrgb(montage.COLOURS[outcome])
        assert (picture == colour).all(axis=2).any(), outcome
    pen, box = ImageDraw.Draw(Image.new("RGB", (460, 200))), np.array([50.0, 60, 90, 120])
    places = []
    for _ in range(3):
        places.append(montage._write(pen, box, "K-000001", "right", (460, 200), places))
    assert len({top for _, top, *_ in places}) == 3
