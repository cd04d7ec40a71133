"""Templates become pages: escaped, complete, installed with the package."""

from pathlib import Path

import jinja2
import pytest

from pillsnap.stage import page

TEMPLATE = """{% extends "stage/templates/base.html" %}
{% block title %}{{ name }}{% endblock %}
{% block style %}.more { color: red; }{% endblock %}
{% block body %}<p>{{ name }}</p><img src="{{ picture | jpeg }}">{% endblock %}
{% block script %}<script>let x;</script>{% endblock %}
"""


@pytest.fixture(autouse=True)
def template(monkeypatch):
    """A template `test.html` next to those of the package."""
    loader = jinja2.ChoiceLoader(
        [jinja2.DictLoader({"test.html": TEMPLATE}), jinja2.FileSystemLoader(page.PACKAGE)]
    )
    monkeypatch.setattr(page._environment(), "loader", loader)


def test_a_page_fills_the_blocks_of_the_base():
    html = page.render("test.html", name="x", picture=b"jpeg")
    assert html.startswith("<!doctype html>") and html.endswith("</html>\n")
    assert "<title>PillSnap: x</title>" in html
    assert html.index(".more {") < html.index("</style>") < html.index("<p>x</p>")
    assert '<img src="data:image/jpeg;base64,anBlZw==">' in html


def test_values_are_escaped():
    html = page.render("test.html", name="<script>alert(1)</script>", picture=b"")
    assert html.count("<script") == 1
    assert html.count("&lt;script&gt;") == 2


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="name"):
        page.render("test.html", picture=b"")


def test_the_templates_are_package_data():
    pattern = "*/templates/*.html"
    found = {path.relative_to(page.PACKAGE).as_posix() for path in page.PACKAGE.glob(pattern)}
    assert {"stage/templates/base.html", "validation/templates/report.html"} <= found
    configured = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"{pattern}"' in configured
