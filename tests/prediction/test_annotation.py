import io

import numpy as np
from PIL import Image

from make.drawn_models import RED, STRANGE, frame, recogniser
from pillsnap.prediction import annotation

FRAME = frame((40, 80, 60, RED), (150, 90, 50, STRANGE))


def test_boxes_are_drawn_in_the_colour_of_known_and_of_unknown() -> None:
    drawn = annotation.draw(FRAME, recogniser().recognise([FRAME], top=1)[0])
    assert tuple(drawn[139, 60]) == annotation.KNOWN_COLOUR
    assert tuple(drawn[139, 175]) == annotation.UNKNOWN_COLOUR


def test_a_known_pill_is_captioned_by_name_code_and_confidence() -> None:
    known, unknown = recogniser().recognise([FRAME], top=1)[0]
    assert annotation.caption(known) == "가나정 0mg  K-000000  100%"
    assert annotation.caption(unknown) == "unknown  (가나정 0mg?)"


def test_korean_is_drawn_with_letters_of_its_own() -> None:
    pill = recogniser().recognise([FRAME], top=1)[0][0]
    names = [pill, type(pill)(**{**vars(pill), "candidates": (_named(pill, "나가정 0mg"),)})]
    drawn = [annotation.draw(FRAME, [one]) for one in names]
    assert not np.array_equal(*drawn)


def test_a_caption_stays_in_the_picture() -> None:
    corner = frame((240, 0, 60, RED))
    drawn = annotation.draw(corner, recogniser().recognise([corner], top=1)[0])
    plate = (drawn == annotation.KNOWN_COLOUR).all(axis=2)
    assert plate[:12].sum() > 1000


def test_the_photo_itself_is_left_alone() -> None:
    before = FRAME.copy()
    annotation.draw(FRAME, recogniser().recognise([FRAME], top=1)[0])
    assert np.array_equal(FRAME, before)


def test_an_annotated_photo_is_a_jpeg_of_its_size() -> None:
    picture = Image.open(io.BytesIO(annotation.jpeg(FRAME)))
    assert (picture.format, picture.size) == ("JPEG", (300, 200))


def _named(pill, name):
    first = pill.candidates[0]
    return type(first)(first.code, name, first.probability)
