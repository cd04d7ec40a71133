"""The SBOM and the licences of a release: every package that a release rests on, and no other."""

import json
from importlib.metadata import Distribution, version

from pillsnap.release import components


def test_the_sbom_holds_direct_and_indirect_requirements_and_no_tools() -> None:
    found = json.loads(components.sbom(components.installed()))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    versions = {part["name"]: part["version"] for part in found["components"]}
    assert versions["torch"] == version("torch")
    assert {"starlette", "h11", "numpy"} <= versions.keys()  # uvicorn alone needs h11
    assert not {"pytest", "ruff", "moto"} & versions.keys()
    [root] = (part for part in found["components"] if part["type"] == "application")
    assert root["licenses"] == [{"license": {"name": "AGPL-3.0-or-later"}}]


def test_a_licence_is_an_expression_a_short_name_or_a_classifier(tmp_path) -> None:
    def licence(text: str) -> str:
        head = "Metadata-Version: 2.4\nName: a\nVersion: 1\n"
        (tmp_path / "METADATA").write_text(head + text)
        return components.licence(Distribution.at(tmp_path))

    kind = "Classifier: License :: OSI Approved :: MIT License\n"
    assert licence(f"License-Expression: MIT OR ISC\n{kind}") == "MIT OR ISC"
    assert licence(f"License: BSD\n{kind}") == "BSD"
    assert licence(f"License: {'x' * 99}\n{kind}") == "MIT License"
    assert licence("") == "not declared"
