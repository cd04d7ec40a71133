"""What is read against what is recorded; logos and score lines are no text."""

import pytest

from pillsnap.imprint import compare


@pytest.mark.parametrize(
    ("read", "front", "back", "expected"),
    [
        ("HM25", "HM 25", "", "agrees"),
        ("HM25", "HM분할선25", "마크", "agrees"),
        ("25HM", "HM", "25", "agrees"),  # either side first
        ("HM", "HM25", "", "agrees"),  # a line was not found
        ("HN25", "HM25", "", "agrees"),  # one letter of four
        ("HM2", "HM25", "", "agrees"),
        ("1O5S", "I0S5", "", "agrees"),  # look-alikes
        ("906", "906", "", "agrees"),
        ("906H", "H906", "", "agrees"),  # upside down: H906
        ("52WH", "HM25", "", "agrees"),  # upside down
        ("HN", "HM", "", "contradicts"),  # one letter of two is half
        ("DGTH", "HM25", "C", "contradicts"),
        ("XM25Y", "HM25", "", "unsure"),  # M25 is on it
        ("H", "MB", "", "unsure"),  # one letter decides nothing
        ("", "MB", "", "unsure"),
        ("MB12", "", "", "unsure"),  # nothing is recorded
        ("MB12", "마크", "분할선", "unsure"),
        ("5C", "마크 5", "마크 47", "unsure"),  # a logo read as C, all of one side as 5
        ("NLL", "N분할선77", "", "agrees"),  # 7 is L upside down
    ],
)
def test_verdict(read, front, back, expected):
    assert compare.verdict(read, front, back) == expected


@pytest.mark.parametrize(
    ("read", "expected"),
    [("HM2", True), ("H52", True), ("W25", False), ("HM", False), ("HM257", False), ("", False)],
)
def test_a_drug_is_spelled_by_three_letters_that_are_all_recorded(read, expected):
    assert compare.spells(read, "HM", "25H") == expected


@pytest.mark.parametrize("side", ["AB12", "K7L9XY", "3578"])
def test_any_one_wrong_letter_still_agrees_and_another_imprint_contradicts(side):
    for at in range(len(side)):
        for wrong in (side[:at] + "Q" + side[at + 1 :], side[:at] + side[at + 1 :],
                      side[:at] + "Q" + side[at:]):  # fmt: skip
            assert compare.verdict(wrong, side, "") == "agrees", wrong
    assert compare.verdict("QUVW", side, "") == "contradicts"
