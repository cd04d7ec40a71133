import io
from html.parser import HTMLParser

import pytest
from PIL import Image

from make.made_answers import OPTIONS, answers, class_table, fitted, frames, muddled, oracle
from pillsnap.evaluation import breakdown, evaluate, model_card, outputs, report, summary
from pillsnap.params import load

PARAMS = load().model_copy(update={"evaluate": OPTIONS})
TABLE = class_table()
HELD_OUT = {"K-000503"}


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG")
    return buffer.getvalue()


def measured(model=muddled, found: bool = True) -> tuple[dict, dict, object]:
    answered = answers(model, frames(found=found))
    made = fitted(answered.val)
    sections = evaluate.measure(PARAMS, answered, made, TABLE, HELD_OUT)
    sections |= {
        "split": breakdown.split_overlap({}),
        "training": {"total_minutes": None, "total_minutes_reason": "no summary"},
        "speed": {"frames": 0},
        "models": {
            "detection": {"architecture": "yolo11n"},
            "classification": {"architecture": "test_resnet"},
        },
        "provenance": {
            "class_table_hash": "ab" * 32,
            "data_fingerprint": None,
            "git_revision": "c0ffee",
            "map": "x",
        },
    }
    sections["targets"] = summary.targets(PARAMS, sections)
    known = answered.val.known()
    classes = breakdown.per_class(known.truth, known.logits.argmax(axis=1), TABLE)
    return sections, outputs.plots(answered, made, TABLE, 5), classes


def page(scale: str = "demo", columns: dict[str, list] | None = None, **of) -> str:
    """A report; `columns` replace those of the table of classes."""
    sections, plots, classes = measured(**of)
    for name, values in (columns or {}).items():
        classes = classes.head(len(values)).assign(**{name: values})
    pictures = dict.fromkeys(outputs.MONTAGES, picture())
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


def test_the_headline_metrics_have_their_intervals() -> None:
    classification = measured()[0]["classification"]
    assert f"<b>{classification['top1']:.3f}</b>" in page()
    assert f"<small>{classification['ci']['top1']}</small>" in page()


def test_a_missing_metric_shows_its_reason() -> None:
    assert "<small>no pill was accepted</small>" in page(found=False)


def test_only_synthetic_pills_have_the_warning_and_every_page_says_it_is_no_device() -> None:
    assert report.SYNTHETIC in page("demo")
    assert report.SYNTHETIC not in page("stage3")
    assert report.NO_DEVICE in page("stage3")


def test_unknown_codes_are_listed_with_the_hardest_named() -> None:
    worst = measured()[0]["unknown"]["by_code"][0]
    assert f"The hardest code is {worst['code']}" in page()


def test_held_out_classes_are_reported_apart() -> None:
    assert "Held-out unknown classes: 1 codes, 40 pills" in page()


def test_the_near_duplicates_between_splits_are_shown() -> None:
    assert "near duplicate share" in page()


def test_few_groups_are_said_where_an_interval_is_shown() -> None:
    assert "groups only" in page()


def test_korean_names_are_shown_and_text_from_labels_cannot_become_markup() -> None:
    shown = page(columns={"drug_name": ["가나정 7mg", "<script>x</script>"]})
    assert "가나정 7mg" in shown
    assert "&lt;script&gt;x&lt;/script&gt;" in shown
    assert "<script>x" not in shown


def test_cells_sort_by_the_whole_value_and_missing_ones_are_empty() -> None:
    row = report.table(["a"], [[0.123456, None, (0.5, "0.4 to 0.6"), "text", True]]).rows[0]
    assert [cell.sort for cell in row] == ["0.123456", "", "0.5", "", ""]
    assert [cell.text for cell in row] == ["0.123", "–", "0.500 (0.4 to 0.6)", "text", "yes"]
    assert [cell.number for cell in row] == [True, True, True, False, False]
    assert f'data-value="{measured()[0]["pipeline"]["pill_f1"]!r}"' in page()


def test_a_chart_puts_the_ends_of_the_scale_at_the_ends_of_its_axes() -> None:
    drawn = report.chart("title", [(0.0, 0.0), (1.0, 1.0)], "recall", "precision")
    bottom, top = report.HEIGHT - report.BOTTOM, report.TOP
    right = report.WIDTH - report.RIGHT
    assert drawn.line == f"{report.LEFT:.1f},{bottom:.1f} {right:.1f},{top:.1f}"
    assert (drawn.rows[0], drawn.columns[-1]) == (("0", bottom), ("1", right))


def test_a_chart_without_points_says_so() -> None:
    sections, plots, classes = measured()
    pictures = dict.fromkeys(outputs.MONTAGES, picture())
    assert "Nothing to draw" in report.render(
        sections, {**plots, "coverage": []}, classes, pictures, "demo"
    )


def test_the_model_card_has_metrics_limits_and_provenance() -> None:
    sections, _, _ = measured()
    card = model_card.render(sections, class_table(), "demo")
    assert f"| classification.top1 | {sections['classification']['top1']:.3f}" in card
    assert report.NO_DEVICE in card
    assert "commit\n  c0ffee" in card
    assert "test_resnet, 10 K-codes" in card
