import re
from dataclasses import replace

import pytest

from make.drawn_models import RED, frame, recogniser
from make.import_graph import SRC
from pillsnap.recognition import certainty

PILL = recogniser().recognise([frame((20, 30, 60, RED))], top=2)[0][0]


@pytest.mark.parametrize(
    ("known", "confidence", "look"),
    [(True, 0.9, "confident"), (True, 0.899, "doubtful"), (False, 1.0, "unknown")],
)
def test_only_a_doubtful_pill_has_a_second_candidate(known, confidence, look):
    pill = replace(PILL, known=known, confidence=confidence)
    assert certainty.of(pill) == look
    assert certainty.second(pill) == (PILL.candidates[1] if look == "doubtful" else None)
    assert certainty.second(replace(pill, candidates=PILL.candidates[:1])) is None


def test_no_confidence_is_shown_as_100_percent_and_no_other_function_formats_one():
    shown = {1.0: ">99%", 0.9951: ">99%", 0.994: "99%", 0.5: "50%", 0.004: "0%"}
    assert {share: certainty.percent(share) for share in shown} == shown
    pages = [path for kind in ("py", "js") for path in (SRC / "pillsnap").rglob(f"*.{kind}")]
    own = re.compile(r"(confidence|probability)[^\n]{0,20}(:\.\d%|toFixed)")
    assert [path.name for path in pages if own.search(path.read_text("utf-8"))] == []
    script = (SRC / "pillsnap/service/page/service.js").read_text("utf-8")
    assert f"DOUBTFUL_BELOW = {certainty.DOUBTFUL_BELOW};" in script
