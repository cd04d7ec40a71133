"""Renders the reports: Jinja templates of the package, one HTML file without outside requests."""

import base64
import functools
from pathlib import Path

import jinja2

PACKAGE = Path(__file__).parents[1]


def render(template: str, **values: object) -> str:
    """The HTML of a template, named by its path in the package (`room/templates/report.html`).

    A template extends `stage/templates/base.html`. Values are escaped; a template that uses a name
    without a value raises jinja2.UndefinedError. Filters: `jpeg` (bytes -> data URI).
    """
    return _environment().get_template(template).render(values)


def jpeg_uri(jpeg: bytes) -> str:
    """A picture as a data URI, for `<img src>`."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PACKAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["jpeg"] = jpeg_uri
    return environment
