"""The installed packages that a release rests on: an SBOM (CycloneDX 1.6) and their licences."""

from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import orjson
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "pillsnap"
EXTRAS = ("", "onnx", "train")  # of ROOT: what makes a bundle and what uses it
LONGEST_NAME = 60  # of a licence: some packages give its whole text instead
Packages = Mapping[str, Distribution]  # by normalised name, sorted


def installed() -> Packages:
    """ROOT and all that it needs; what is of another platform or not installed is left out."""
    found, seen = dict[str, Distribution](), set[tuple[str, str]]()
    waiting = [(ROOT, extra) for extra in EXTRAS]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for needed in map(Requirement, found[name].requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(needed.name), e) for e in ("", *needed.extras)]
    return dict(sorted(found.items()))


def sbom(packages: Packages) -> bytes:
    """CycloneDX JSON, without a time or a serial number: equal packages give equal bytes."""
    parts = [
        {
            "type": "application" if name == ROOT else "library",
            "name": name,
            "version": package.version,
            "purl": f"pkg:pypi/{name}@{package.version}",
            "licenses": [{"license": {"name": licence(package)}}],
        }
        for name, package in packages.items()
    ]
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": parts}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def licences(packages: Packages) -> str:
    """A line per package: name, version, licence."""
    return "".join(f"{name} {one.version}: {licence(one)}\n" for name, one in packages.items())


def licence(package: Distribution) -> str:
    """As the package declares it: an SPDX expression, else a short name, else classifiers."""
    declared = package.metadata.json
    name = str(declared.get("license", "")).strip()
    short = name if "\n" not in name and len(name) <= LONGEST_NAME else ""
    kinds = [kind for kind in declared.get("classifier", []) if kind.startswith("License ::")]
    named = "; ".join(kind.rpartition(" :: ")[2] for kind in kinds)
    return str(declared.get("license_expression") or short or named or "not declared")
