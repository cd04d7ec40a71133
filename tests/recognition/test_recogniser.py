import numpy as np
import pytest

from make.drawn_models import BLUE, GREEN, RED, STRANGE, frame, recogniser
from pillsnap.errors import DataError
from pillsnap.recognition.recogniser import whole_pixels

PAIR = frame((20, 30, 60, RED), (150, 40, 50, GREEN))


def test_each_pill_gets_its_box_its_code_and_sorted_candidates():
    first, second = recogniser().recognise([PAIR], top=3)[0]
    assert (first.box, first.code) == ((20, 30, 60, 60), "K-000000")
    assert (second.box, second.code) == ((150, 40, 50, 50), "K-000001")
    assert first.drug_name == "가나정 0mg"
    assert (first.edi_codes, second.edi_codes) == (("111", "222"), ())
    chances = [candidate.probability for candidate in first.candidates]
    assert len(chances) == 3
    assert chances == sorted(chances, reverse=True)
    assert (first.confidence, first.code) == (chances[0], first.candidates[0].code)


def test_a_refused_pill_keeps_its_candidates_and_deciding_agrees_with_recognising():
    pill = recogniser().recognise([frame((20, 30, 60, STRANGE))], top=2)[0][0]
    assert (pill.known, pill.code, pill.drug_name, pill.edi_codes) == (False, None, None, ())
    assert len(pill.candidates) == 2
    tool = recogniser()
    strange = frame((20, 30, 60, STRANGE), (150, 40, 50, GREEN))
    decision = tool.decide(tool.read([strange])[0])
    pills = tool.recognise([strange], top=1)[0]
    assert decision.class_index.tolist() == [-1, 1]
    assert decision.confidence.tolist() == [pill.confidence for pill in pills]


def test_a_batch_of_frames_with_and_without_pills_reads_as_each_alone_and_crops_share_batches():
    unsure = frame((20, 30, 20, RED))  # below the operating confidence
    tool = recogniser(batch_size=3)
    frames = [PAIR, frame(), unsure, frame((10, 10, 80, BLUE)), PAIR]
    found = tool.recognise(frames, top=4)
    assert [len(pills) for pills in found] == [2, 0, 0, 1, 2]
    assert found == [recogniser().recognise([one], top=4)[0] for one in frames]
    assert tool.classifier.batches == [3, 2]


def test_with_a_list_of_codes_only_those_are_predicted_and_other_lists_are_refused():
    found = recogniser().recognise([PAIR], top=4, codes=["K-000001", "K-000002"])[0]
    codes = {candidate.code for pill in found for candidate in pill.candidates}
    assert codes == {"K-000001", "K-000002"}
    assert [pill.code for pill in found] == [None, "K-000001"]
    for listed, why in ((["K-999999"], "no class: K-999999"), ([], "is empty")):
        with pytest.raises(DataError, match=why):
            recogniser().recognise([PAIR], top=1, codes=listed)


def test_boxes_are_rounded_to_whole_pixels_inside_the_frame():
    found = np.array([[-3.2, 4.4, 10.6, 20.5], [99.7, 49.9, 140, 90]], np.float32)
    assert whole_pixels(found, 100, 50).tolist() == [[0, 4, 11, 16], [99, 49, 1, 1]]
