"""Paths as a user writes them into params.yaml."""

from pathlib import Path

from pillsnap.errors import DataError, UserError

EXPERIMENTS = (".dvc", "tmp", "exps")  # where DVC copies the repository to


def located(text: str, error: type[UserError] = DataError) -> Path:
    """A path as a user writes it: `~` is expanded, and a relative one starts at the repository.

    DVC runs `dvc exp run --temp` and `--queue` in a copy under <repository>/.dvc/tmp/exps/, which
    holds none of the files that git ignores.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # no such user, or no HOME and no entry in /etc/passwd
        raise error(
            f"{text}: the home folder of {text.split('/')[0]} is not known.",
            "Write the whole path, from / on.",
        ) from None
    copies = next((base for base in Path.cwd().parents if base.parts[-3:] == EXPERIMENTS), None)
    original = copies.parents[2] / path if copies else path
    return original if original.exists() else path
