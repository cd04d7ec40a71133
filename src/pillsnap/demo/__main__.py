"""Draws a synthetic AI Hub tree: `python -m pillsnap.demo --root DIR --classes 26 ... --seed 1`."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from pillsnap.demo import DemoSpec, draw_tree
from pillsnap.demo.progress import lines
from pillsnap.errors import UserError


def main() -> int:
    """Draw a tree; returns 0 done, 1 refused, 130 interrupted."""
    options = vars(_parser().parse_args())
    spec = DemoSpec(**{field.name: options[field.name] for field in fields(DemoSpec)})
    progress = lines("drawing photos")
    try:
        draw_tree(options["root"], spec, options["seed"], options["num_workers"], progress)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: the tree is unfinished; the next run draws it again.", file=sys.stderr)
        return 130
    print(f"{options['root']} is drawn.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pillsnap.demo", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--num-workers", type=int, required=True)
    for field in fields(DemoSpec):
        kind = float if field.type is float else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
