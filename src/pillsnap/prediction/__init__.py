"""A trained recogniser on a user's pictures, and drugs enrolled without training."""

from pillsnap.dataset import pictures as pictures  # part of the Python API, docs/use.md
