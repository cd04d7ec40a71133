import re

import pytest

from make.made_answers import OPTIONS, answers, class_table, fitted, frames, muddled, oracle
from pillsnap.evaluation import breakdown, evaluate, outputs, report
from pillsnap.params import load

PARAMS = load().model_copy(update={"evaluate": OPTIONS})
TABLE = class_table()
HELD_OUT = {"K-000503"}
PICTURES = dict.fromkeys(("detections", "confusions", "unknown"), b"JPEG")


def measured(model=muddled, found: bool = True) -> tuple[dict, dict, object]:
    answered = answers(model, frames(found=found))
    made = fitted(answered.val)
    sections = evaluate.measure(PARAMS, answered, made, TABLE, HELD_OUT)
    models = {"detection": "yolo11n", "classification": "test_resnet"}
    known = {"class_table_hash": "ab" * 32, "git_revision": "c0ffee", "map": "x"}
    sections |= {
        "split": breakdown.split_overlap({}),
        "training": {"total_minutes": None, "total_minutes_reason": "no summary"},
        "speed": {"frames": 0},
        "models": {name: {"architecture": model} for name, model in models.items()},
        "provenance": {**known, "data_fingerprint": None},
    }
    sections["targets"] = outputs.targets(PARAMS, sections)
    known = answered.val.known()
    classes = breakdown.per_class(known.truth, known.logits.argmax(axis=1), TABLE)
    return sections, outputs.plots(answered, made, TABLE, 5), classes


def page(scale: str = "demo", columns: dict[str, list] | None = None, **of) -> str:
    """A report; `columns` replace those of the table of classes."""
    sections, plots, classes = measured(**of)
    for name, values in (columns or {}).items():
        classes = classes.head(len(values)).assign(**{name: values})
    return report.render(sections, plots, classes, PICTURES, scale)


@pytest.mark.parametrize("of", [{}, {"found": False}, {"model": oracle}])
def test_the_page_is_whole_and_fetches_nothing(of):
    shown = page(**of)
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", shown) == []
    body = shown[shown.index("<body") : shown.index("</body>")]
    tags = [re.findall(rf"<{end}(div|table|svg|td|p)\b", body) for end in ("", "/")]
    assert sorted(tags[0]) == sorted(tags[1])


def test_the_page_shows_intervals_reasons_warnings_unknown_pills_and_names_not_as_markup():
    sections, shown, empty = measured()[0], page(), page("stage3", found=False)
    top1, worst = sections["classification"], sections["unknown"]["by_code"][0]
    for text in (
        f"<b>{top1['top1']:.3f}</b>",
        f"<small>{top1['ci']['top1']}</small>",
        "groups only",
        f"The hardest code is {worst['code']}",
        "Held-out unknown classes: 40 pills of 1 codes",
        "near duplicate share",
        report.SYNTHETIC,
        "<dd>yolo11n + test_resnet</dd>",
        "<dd>c0ffee</dd>",
        'data-ko="F1(단일 사진)"',
        'href="#Curves"',
        '<h2 id="Curves">',
    ):
        assert text in shown, text
    assert "<small>no pill was accepted</small>" in empty
    assert report.SYNTHETIC not in empty
    assert report.NO_DEVICE in empty
    shown = page(columns={"drug_name": ["가나정 7mg", "<script>x</script>"]})
    assert "가나정 7mg" in shown
    assert "&lt;script&gt;x&lt;/script&gt;" in shown
    assert "<script>x" not in shown


def test_thresholds_to_choose_from_are_shown_and_imprints_where_they_were_read():
    sections, plots, classes = measured()
    shown = report.render(sections, plots, classes, PICTURES, "demo")
    for row in sections["operating_points"]:
        assert (row["threshold"] is None) is (f"{row['threshold']!r}" not in shown)
    assert "with the imprint" not in shown
    named = ("top1", "top1_with_imprint", "accepted", "accepted_and_not_contradicted")
    part = dict(zip(named, (0.5, 0.625, 0.75, None), strict=True)) | {"pills": 8}
    part["ci"] = dict.fromkeys(named)
    sections["imprint"] = dict.fromkeys(("val", "test", "known", "unknown"), part)
    shown = report.render(sections, plots, classes, PICTURES, "demo")
    assert "with the imprint" in shown
    assert shown.count(">0.625<") == 2
    assert {"known", "unknown"} < {*re.findall(r"(\w+) pills accepted<", shown)}


def test_cells_sort_by_the_whole_value_and_missing_ones_are_empty():
    row = report.table(["a"], [[0.123456, None, (0.5, "0.4 to 0.6"), "text", True]])["rows"][0]
    assert [cell.get("sort") for cell in row] == ["0.123456", "", "0.5", None, None]
    assert [cell["text"] for cell in row] == ["0.123", "–", "0.500 (0.4 to 0.6)", "text", "yes"]
    assert [cell["number"] for cell in row] == [True, True, True, False, False]
    assert f'data-value="{measured()[0]["pipeline"]["pill_f1"]!r}"' in page()


def test_a_chart_reaches_the_ends_of_its_axes_and_the_model_card_has_metrics_and_provenance():
    sections, plots, classes = measured()
    ends = [{"recall": end, "precision": end} for end in (0.0, 1.0)]
    plots |= {"pr_curve": ends, "coverage": []}
    shown = report.render(sections, plots, classes, PICTURES, "demo")
    assert '<polyline points="44.0,186.0 290.0,18.0"/>' in shown
    assert '<line class="grid" x1="44" y1="186.0" x2="290" y2="186.0"/>' in shown
    assert '<text x="290.0" y="202" text-anchor="middle">1</text>' in shown
    assert "<title>recall 1.000, precision 1.000</title>" in shown
    assert "Nothing to draw" in shown
    assert f'text-anchor="middle">{plots["reliability"][0]["pills"]}</text>' in shown
    card = report.model_card(sections, class_table(), "demo")
    assert f"| classification.top1 | {sections['classification']['top1']:.3f}" in card
    assert report.NO_DEVICE in card
    assert "commit\n  c0ffee" in card
    assert "test_resnet, 10 K-codes" in card
