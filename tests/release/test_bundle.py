import re

import pytest

from pillsnap import cli_use
from pillsnap.errors import CheckpointError
from pillsnap.release.bundle import Bundle, Description


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    bundle = Bundle(tmp_path)
    bundle.timm_dir.mkdir()
    bundle.classes.write_text("classes")
    (bundle.timm_dir / "config.json").write_text("{}")
    bundle.seal({"scale": "demo", "batch_size": 8, "max_pixels": 10**6, "more": [1]})
    return bundle


def test_changed_added_and_removed_files_are_named_and_not_loaded(bundle, capsys) -> None:
    assert cli_use.verify_bundle(bundle.folder) == 0
    assert bundle.describe() == Description("demo", 8, 10**6)
    bundle.check([bundle.classes])
    config = bundle.timm_dir / "config.json"
    bundle.classes.write_text("other")
    bundle.gallery.write_text("{}")
    config.unlink()
    faults = {
        bundle.classes: "is damaged: SHA256SUMS has another sha256.",
        bundle.gallery: "is not listed in SHA256SUMS.",
        config: "is missing.",
    }
    assert bundle.verify() == [f"{path} {words}" for path, words in faults.items()]
    for path, words in faults.items():
        with pytest.raises(CheckpointError, match=re.escape(f"{path} {words}")):
            bundle.check([path])
    assert cli_use.verify_bundle(bundle.folder) == 1
    printed = capsys.readouterr().out
    assert f"{config} is missing.\n  -> Export" in printed
    assert printed.endswith("3 damaged\n")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"format": 9}, "of format 9"),
        ({"batch_size": 8}, "max_pixels: Field required"),
        ({"batch_size": 0, "max_pixels": 5}, "batch_size: Input should be greater than 0"),
    ],
)
def test_no_bundle_and_a_description_of_another_kind_are_refused(bundle, tree, words) -> None:
    for path in (bundle.timm_dir, bundle.classes, bundle.folder / "none"):
        with pytest.raises(CheckpointError, match=f"{path} is no release bundle"):
            Bundle(path).describe()
    bundle.seal({"scale": "demo", **tree})
    with pytest.raises(CheckpointError, match=words):
        bundle.describe()
