"""Confident, doubtful or unknown: how certain an answer is, and how a confidence is printed."""

from typing import Literal

from pillsnap.recognition.recogniser import Candidate, Pill

DOUBTFUL_BELOW = 0.9  # confidence; the upload page (service.js) has the same number
Certainty = Literal["confident", "doubtful", "unknown"]


def of(pill: Pill) -> Certainty:
    """A refused pill is unknown; one with a confidence under DOUBTFUL_BELOW, or that reads unlike
    its drug, is doubtful."""
    if not pill.known:
        return "unknown"
    contradicted = pill.imprint is not None and pill.imprint.verdict == "contradicts"
    return "doubtful" if contradicted or pill.confidence < DOUBTFUL_BELOW else "confident"


def second(pill: Pill) -> Candidate | None:
    """The second candidate of a doubtful pill, which is always shown with the first."""
    return pill.candidates[1] if of(pill) == "doubtful" and len(pill.candidates) > 1 else None


def percent(share: float) -> str:
    """A confidence in whole percent; never 100%, which no model can promise."""
    text = f"{share:.0%}"
    return ">99%" if text == "100%" else text
