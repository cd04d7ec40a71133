"""Irregularities found while reading many files: a count by kind, and the first examples."""

from collections.abc import Iterable
from dataclasses import dataclass, field

EXAMPLES_KEPT = 5
SHOWN = 3  # in a refusal


@dataclass
class Findings:
    """Counts by name and the first examples of each, in the order they were added."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, example: str) -> None:
        """Count one more of `name`; the example gives the place and the value."""
        self.counts[name] = self.counts.get(name, 0) + 1
        kept = self.examples.setdefault(name, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(example)

    def add_all(self, name: str, examples: Iterable[str]) -> None:
        """Count each of `examples` under `name`."""
        for example in examples:
            self.add(name, example)

    def merge(self, other: "Findings") -> None:
        """Add the counts and examples of `other`."""
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
            kept = self.examples.setdefault(name, [])
            kept += other.examples[name][: EXAMPLES_KEPT - len(kept)]

    def largest(self) -> str:
        """The SHOWN findings with the highest counts, a line each that begins with a line break."""
        names = sorted(self.counts, key=lambda name: (-self.counts[name], name))[:SHOWN]
        return "".join(
            f"\n  {name}: {self.counts[name]:,}, e.g. {self.examples[name][0]}" for name in names
        )

    def as_dict(self) -> dict[str, dict[str, object]]:
        """{name: {"count": n, "examples": [...]}} sorted by name, ready for JSON."""
        return {
            name: {"count": self.counts[name], "examples": self.examples[name]}
            for name in sorted(self.counts)
        }
