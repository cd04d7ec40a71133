"""The words of the product: phrases that read as if translated, and what engineers say instead."""

import re

import pytest

from make.import_graph import ROOT, SRC
from make.module_table import MARKED

RETIRED = {  # regular expression, matched in any case between letters: what to write instead
    "told(?! apart)": "reported, printed, notified",
    "said": "reported, logged",
    "stands?(?! for|_in)|stood": "is, is stored in, is next to",
    "speaks?|spoken|voice": "logs, rank 0, is_main",
    "class silence": "NullLog",
    "mend(s|ed|ing)?": "fix",
    "(come|came) by": "chosen, obtained",
    "strangers?": "unknown pills, held-out unknown classes",
    "namers?": "classifier",
    "finders?": "detector",
    "who is where": "the manifests: one row per pill",
    "what appeared": "outputs, what you get",
    "what it is worth": "the effect",
    "patience of|outlasts? the patience": "takes longer than ... waits",
    "deaf to": "ignores",
    "waits? for nobody": "is not delayed",
    "became of": "outcome",
    "hand(s|ed|ing)? (it |them )?on|handover": "outputs, writes, passes",
    "publication": "outputs",
    "(goes|go|going|went) on": "resumes, continues",
    "(sees?|them|evaluation and) in use": "at inference",
    "learnt": "trained on, known",
    "flatter(s|ed|ing)?": "is optimistic",
    "how hard the test is": "near-duplicates between train and test",
    "taken for others": "confusions",
    "as often right as it says": "calibration",
    "hardly means": "can barely tell apart",
    "from names alone": "from file names only",
    "as it should be": "passed",
    '(?<=")sure(?=")|how sure|% sure': "confidence",
    "(the|these|whose|its|their|a|every|no|both|same|such|measured|headline|hardware|running"
    "|end-to-end) figures?(?! ?[=(.\\[/])": "metric, value; plot for a picture",
    'column."figure"|figures? (by|of both|say|of the)': "metric",
}
RETIRED_KOREAN = {  # in lines with Hangul
    "지어낸|그려낸": "가상의 알약, 합성 데이터",
    "누가 어디에": "매니페스트: 알약당 한 행",
    "가르칩니다|가르친": "학습합니다",
    "지문": "핑거프린트",
    "모르는 키": "정의되지 않은 키",
    "(아는|모르는|미지의) 알약": "학습한 알약, 학습하지 않은 알약",
    "시험용": "테스트",
    "알약마다 한 행|알약 하나에 한 행": "알약당 한 행",
    r"(?<=\d) (GB|MB|%|초|분|시간|개|장|명)": "no blank before a unit",
    r"(?<=[A-Za-z0-9)`/}]) (을|를|은|는|이|으로|에서|의|와|과)(?=[ .,]|$)": "no blank here",
    r"(?<=\d) to (?=\d)": "0.930~0.985",
}
LEGITIMATE = (
    "recommended, amended, STAND_INS, EMA stands for it, told apart, the port is already in use",
    "GPU memory: 3.1 of 8.0 GiB in use (39 %)", "early stopping with patience=5, an invoice",
    "artifacts/demo/figures/confusions.png", "from matplotlib.figure import Figure",
    "renamer, pathfinder, unlearned", "the benchmark split_flattery.py, a hands-on guide",
    "29분 32초가 걸려 train으로 6GB를 쓰고 0.930~0.985",
)  # fmt: skip
ENGLISH = {re.compile(f"(?<![a-z])(?:{old})(?![a-z-])", re.I): new for old, new in RETIRED.items()}
KOREAN = {re.compile(old): new for old, new in RETIRED_KOREAN.items()}
HANGUL = re.compile("[가-힣]")
PAGES = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "data" / "README.md",
    ROOT / "params.yaml", ROOT / "dvc.yaml", ROOT / "run.py",
    *(path for kind in ("py", "js", "html", "yaml") for path in SRC.rglob(f"*.{kind}")),
]  # fmt: skip


def hits(text):
    """(line number, phrase, replacement) of every retired phrase."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, plain in {**ENGLISH, **(KOREAN if HANGUL.search(line) else {})}.items():
            yield from ((number, found.group(), plain) for found in pattern.finditer(line))


def without_module_list(path):
    """The text of a file; the modules' docstrings are looked at where they are written."""
    text = path.read_text(encoding="utf-8")
    return MARKED.sub(lambda found: "\n" * found.group().count("\n"), text)


def test_no_file_uses_a_retired_phrase():
    found = [
        f"{name}:{number}: {phrase!r} -> {plain}"
        for path in sorted(PAGES)
        if "uplot.min" not in (name := path.relative_to(ROOT).as_posix())
        for number, phrase, plain in hits(without_module_list(path))
    ]
    assert not found, f"{len(found)} retired phrases\n" + "\n".join(found)


@pytest.mark.parametrize("line", LEGITIMATE)
def test_legitimate_words_are_left_alone(line):
    assert list(hits(line)) == []
