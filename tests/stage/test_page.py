"""Templates become pages: escaped, complete, installed with the package."""

import jinja2
import pytest

from make.import_graph import ROOT
from pillsnap.stage import page

TEMPLATE = """{% extends "stage/templates/base.html" %}
{% block title %}{{ name }}{% endblock %}
{% block style %}.more { color: red; }{% endblock %}
{% block body %}<p>{{ name }}</p><img src="{{ picture | jpeg }}">{% endblock %}
{% block script %}<script>let x;</script>{% endblock %}
"""


def test_a_page_fills_the_blocks_of_the_base_with_escaped_values(monkeypatch):
    loaders = [jinja2.DictLoader({"test.html": TEMPLATE}), jinja2.FileSystemLoader(page.PACKAGE)]
    monkeypatch.setattr(page._environment(), "loader", jinja2.ChoiceLoader(loaders))
    html = page.render("test.html", name="<script>x</script>", picture=b"jpeg")
    assert html.startswith("<!doctype html>") and html.endswith("</html>\n")
    shown = "&lt;script&gt;x&lt;/script&gt;"
    assert f"<title>PillSnap: {shown}</title>" in html
    assert html.index(".more {") < html.index("</style>") < html.index(f"<p>{shown}</p>")
    assert '<img src="data:image/jpeg;base64,anBlZw==">' in html
    assert html.count("<script") == 2
    with pytest.raises(jinja2.UndefinedError, match="name"):
        page.render("test.html", picture=b"")


def test_the_templates_are_package_data():
    pattern = "*/templates/*"
    found = {path.relative_to(page.PACKAGE).as_posix() for path in page.PACKAGE.glob(pattern)}
    assert {"stage/templates/base.html", "validation/templates/report.html"} <= found
    assert f'"{pattern}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
