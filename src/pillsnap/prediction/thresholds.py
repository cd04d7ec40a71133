"""The threshold of refusal that --refuse-more, --refuse-less or --known-recall asks for."""

from pillsnap.errors import UsageError
from pillsnap.recognition.calibration import Calibration

MORE, LESS = "--refuse-more", "--refuse-less"
Refusal = str | float | None  # MORE, LESS or a known recall; None: as fitted


def asked(more: bool, less: bool, known_recall: float | None) -> Refusal:
    """What the three options ask for; UsageError for two of them."""
    if more + less + (known_recall is not None) > 1:
        fact = f"{MORE}, {LESS} and --known-recall exclude each other."
        raise UsageError(fact, "Give one of them.")
    return MORE if more else LESS if less else known_recall


def chosen(fitted: Calibration, refusal: Refusal) -> Calibration:
    """The calibration at the operating point asked for; UsageError lists those that there are."""
    if refusal is None:
        return fitted
    own, recalls = fitted.known_recall, [one.known_recall for one in fitted.operating_points]
    if refusal == MORE:
        wanted = max((one for one in recalls if one < own), default=0.0)
    elif refusal == LESS:
        wanted = min((one for one in recalls if one > own), default=1.0)
    else:
        wanted = float(refusal)
    if wanted in recalls:
        return fitted.at(wanted)
    listed, nearest = ", ".join(map(str, recalls)), min(recalls, key=lambda one: abs(one - wanted))
    raise UsageError(
        f"There is no threshold for {refusal}: evaluate fitted those of the known recalls {listed} "
        f"({own} is the default). A recall needs 1 / (1 - recall) known pills of each kind of "
        "photo in val.",
        f"Give one of these: --known-recall {nearest}",
    )
