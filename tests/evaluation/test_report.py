import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from make.made_answers import OPTIONS, answers, class_table, fitted, frames, muddled, oracle
from pillsnap.evaluation import breakdown, curves, evaluate, honesty, model_card, outputs, report
from pillsnap.params import load

PARAMS = load().model_copy(update={"evaluate": OPTIONS})
TABLE = class_table()
LEFT_OUT = {"K-000503"}


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


def measured(model=muddled, found: bool = True) -> tuple[dict, dict, object]:
    answered = answers(model, frames(found=found))
    made = fitted(answered.val)
    sections = evaluate.measure(PARAMS, answered, made, TABLE, LEFT_OUT)
    sections["honesty"] = honesty.of_splits({})
    sections["training"] = {"total_minutes": None, "total_minutes_reason": "no summary"}
    sections["targets"] = evaluate.targets(PARAMS, sections)
    sections["speed"] = {"frames": 0}
    sections["provenance"] = [
        {
            "class_table_hash": "ab" * 32,
            "data_fingerprint": None,
            "git_revision": "c0ffee",
            "map": "x",
        }
    ]
    plots = outputs.plots(answered, made, TABLE, 5)
    known = answered.val.known()
    return sections, plots, breakdown.per_class(known.truth, known.logits.argmax(axis=1), TABLE)


def page(scale: str = "demo", **of) -> str:
    sections, plots, classes = measured(**of)
    pictures = dict.fromkeys(outputs.PICTURES, picture())
    return report.render(sections, plots, classes, pictures, scale)


class Outside(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.fetched += [v for k, v in attrs if k in ("src", "href") and not v.startswith("data:")]
        if tag not in ("meta", "img", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag


@pytest.mark.parametrize("of", [{}, {"found": False}, {"model": oracle}])
def test_the_page_is_whole_and_fetches_nothing(of) -> None:
    parser = Outside()
    parser.feed(page(**of))
    assert parser.fetched == []
    assert parser.open == []


def test_the_headline_figures_stand_with_their_intervals() -> None:
    sections, _, _ = measured()
    top1, (low, high) = sections["classification"]["top1"], sections["classification"]["ci"]["top1"]
    assert f"<b>{top1:.3f}</b>" in page()
    assert f"{low:.3f} to {high:.3f}" in page()


def test_a_figure_that_is_missing_shows_its_reason() -> None:
    assert "no name given" in page(found=False)


def test_only_drawn_pills_carry_the_warning_and_all_that_it_is_no_device() -> None:
    assert report.SYNTHETIC in page("demo")
    assert report.SYNTHETIC not in page("stage3")
    assert report.NO_DEVICE in page("stage3")


def test_pills_left_out_on_purpose_are_told_apart() -> None:
    assert "on purpose: 1 codes, 40 pills" in page()


def test_the_near_duplicates_between_splits_are_shown() -> None:
    assert "near duplicate share" in page()


def test_korean_names_are_in_the_class_table() -> None:
    assert "가나정 7mg" in page()


def test_text_from_labels_cannot_become_markup() -> None:
    assert "<script>x" not in report.table(["<b>"], [["<script>x</script>"]])
    assert "&lt;b&gt;" in report.table(["<b>"], [])


def test_cells_sort_by_the_whole_value_and_missing_ones_are_empty() -> None:
    drawn = report.table(["a"], [[0.123456], [None], [(0.5, (0.4, 0.6))]])
    assert 'data-value="0.123456">0.123' in drawn
    assert 'data-value="">–' in drawn
    assert 'data-value="0.5">0.500 (0.400 to 0.600)' in drawn


def test_a_chart_puts_the_ends_of_the_scale_at_the_ends_of_its_axes() -> None:
    drawn = curves.chart([(0.0, 0.0), (1.0, 1.0)], "recall", "precision")
    points = re.search(r'points="([^"]+)"', drawn).group(1)
    bottom, top = curves.HEIGHT - curves.BOTTOM, curves.TOP
    right = curves.WIDTH - curves.RIGHT
    assert points == f"{curves.LEFT:.1f},{bottom:.1f} {right:.1f},{top:.1f}"


def test_a_chart_of_nothing_says_so() -> None:
    assert "Nothing" in curves.chart([], "recall", "precision")


def test_the_model_card_holds_the_figures_the_limits_and_the_origin() -> None:
    sections, _, _ = measured()
    models = {"detection": "yolo11n", "classification": "test_resnet"}
    card = model_card.render(sections, class_table(), "demo", models)
    assert f"| classification.top1 | {sections['classification']['top1']:.3f}" in card
    assert report.NO_DEVICE in card
    assert "commit\n  c0ffee" in card
    assert "test_resnet, 10 K-codes" in card
