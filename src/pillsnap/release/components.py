"""The installed packages that a release rests on: an SBOM (CycloneDX 1.6) and their licences."""

from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

import orjson
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pillsnap.errors import MachineError

ROOT = "pillsnap"
EXTRAS = ("", "onnx", "train")  # of ROOT: what makes a bundle and what uses it
LONGEST_NAME = 60  # of a licence: some packages give its whole text instead
UNDECLARED = "not declared"

Packages = Mapping[str, Distribution]  # by normalised name, sorted


def installed() -> Packages:
    """ROOT and all that it needs; what is of another platform or not installed is left out."""
    found, seen = dict[str, Distribution](), set[tuple[str, str]]()
    waiting = [(ROOT, extra) for extra in EXTRAS]
    while waiting:
        if (wanted := waiting.pop()) in seen:
            continue
        seen.add(wanted)
        try:
            found[wanted[0]] = distribution(wanted[0])
        except PackageNotFoundError:
            continue
        for needed in _needed(found[wanted[0]], wanted[1]):
            name = canonicalize_name(needed.name)
            waiting += [(name, extra) for extra in ("", *needed.extras)]
    if ROOT not in found:
        cure = "Install it: pip install --no-deps -e ."
        raise MachineError("pillsnap itself is not installed, only its source is here.", cure)
    return dict(sorted(found.items()))


def sbom(packages: Packages) -> bytes:
    """The packages as CycloneDX JSON, without a time or a serial number: equal packages give equal
    bytes."""
    refs = {name: f"pkg:pypi/{name}@{package.version}" for name, package in packages.items()}
    parts: dict[str, dict[str, Any]] = {
        name: {
            "type": "library",
            "bom-ref": refs[name],
            "name": name,
            "version": package.version,
            "purl": refs[name],
            "licenses": [{"license": {"name": licence(package)}}],
        }
        for name, package in packages.items()
    }
    edges = []
    for name, package in packages.items():
        extras = EXTRAS if name == ROOT else ("",)
        needed = {canonicalize_name(one.name) for e in extras for one in _needed(package, e)}
        targets = sorted(refs[one] for one in needed & refs.keys())
        edges.append({"ref": refs[name], "dependsOn": targets})
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": parts.pop(ROOT) | {"type": "application"}},
        "components": list(parts.values()),
        "dependencies": edges,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def licences(packages: Packages) -> str:
    """A line per package: name, version, licence."""
    return "".join(f"{name} {one.version}: {licence(one)}\n" for name, one in packages.items())


def licence(package: Distribution) -> str:
    """As the package declares it: an SPDX expression, else a short name, else classifiers."""
    declared = package.metadata.json
    if expression := declared.get("license_expression"):
        return str(expression)
    name = str(declared.get("license", "")).strip()
    if name and "\n" not in name and len(name) <= LONGEST_NAME:
        return name
    kinds = [kind for kind in declared.get("classifier", []) if kind.startswith("License ::")]
    return "; ".join(kind.rpartition(" :: ")[2] for kind in kinds) or UNDECLARED


def _needed(package: Distribution, extra: str) -> Iterator[Requirement]:
    for requirement in map(Requirement, package.requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement
