import io
from dataclasses import replace

import numpy as np
from PIL import Image

from make.drawn_models import RED, STRANGE, frame, recogniser
from pillsnap.prediction import annotation
from pillsnap.prediction.annotation import COLOURS, INK

FRAME = frame((40, 80, 60, RED), (150, 90, 50, STRANGE))
KNOWN, UNKNOWN = recogniser().recognise([FRAME], top=2)[0]
DOUBTFUL = replace(KNOWN, confidence=0.54)


LOOKS = {
    "confident": (KNOWN, "가나정 0mg  K-000000  >99%"),
    "doubtful": (DOUBTFUL, "가나정 0mg  K-000000  54%  or 가나정 3mg 0%"),
    "unknown": (UNKNOWN, "unknown  (가나정 0mg?)"),
}


def test_captions_and_frames_of_confident_doubtful_and_unknown_pills_and_the_photo_stays() -> None:
    before = FRAME.copy()
    for look, (pill, caption) in LOOKS.items():
        assert annotation.caption(pill) == caption
        x, y, width, height = pill.box
        bottom = annotation.draw(FRAME, [pill])[y + height - 1, x:][:width]
        assert {*map(tuple, bottom)} == {COLOURS[look], *[INK] * (look == "doubtful")}
    assert np.array_equal(FRAME, before)
    assert len(set(COLOURS.values())) == 3


def test_korean_is_drawn_with_letters_of_its_own() -> None:
    other = replace(KNOWN.candidates[0], drug_name="나가정 0mg")
    pills = [KNOWN, replace(KNOWN, candidates=(other,))]
    assert not np.array_equal(*(annotation.draw(FRAME, [pill]) for pill in pills))


def test_a_caption_stays_in_the_picture_which_is_saved_as_jpeg_of_its_size() -> None:
    corner = frame((240, 0, 60, RED))
    drawn = annotation.draw(corner, recogniser().recognise([corner], top=1)[0])
    assert (drawn == COLOURS["confident"]).all(axis=2)[:12].sum() > 1000
    picture = Image.open(io.BytesIO(annotation.jpeg(drawn)))
    assert (picture.format, picture.size) == ("JPEG", (300, 200))
