"""Wrong arguments are refused before torch is imported, which takes seconds."""

import json
import shutil
import subprocess
import sys

from PIL import Image

from make.import_graph import ROOT

NO_TABLE, NO_BUNDLE = "classes.csv is missing", "is no release bundle"
REFUSED = {
    "predict none.png": "Missing: none.png",
    "predict none.png 'x*.png' --json": "Missing: none.png, x*.png",
    "predict empty": "holds no picture",
    "predict a.png --json --csv": "Choose one",
    "predict a.png --annotate a.png": "is a file",
    "predict a.png --codes none.txt": "none.txt is missing",
    "predict a.png --model none": NO_BUNDLE,
    "predict a.png --backend tensorrt": "torch, onnx",
    "predict a.png --device gpu": "--device is 'gpu'",
    "predict a.png": NO_TABLE,
    "serve --port 0 --model none": NO_BUNDLE,
    "serve --port 0 --backend onnx": NO_BUNDLE,
    "serve --port 0 --device gpu": "--device is 'gpu'",
    "serve --port 0": NO_TABLE,
    "serve --host 0.0.0.0": "opens the service",
    "enroll K-1 a.png": "not a K-code",
    "enroll K-000001 a.png none.png": "Missing: none.png",
    "enroll K-000001 a.png --device gpu": "--device is 'gpu'",
    "enroll K-000001 a.png": NO_TABLE,
    "evaluate-folder none": "none is not a folder",
    "evaluate-folder . --model none": NO_BUNDLE,
    "evaluate-folder . --backend tensorrt": "torch, onnx",
    "evaluate-folder .": NO_TABLE,
    "export --out a.png": "is a file",
    "export --out full": "holds other files",
    "export": NO_TABLE,
}
PROGRAM = """
import json, shlex, sys
from pillsnap import cli

def heavy():
    return sorted({"torch", "onnxruntime", "sklearn", "ultralytics", "timm"} & set(sys.modules))

found = {}
for command in json.load(sys.stdin):
    sys.argv = ["pillsnap", *shlex.split(command)]
    print(file=sys.stderr)
    print("$", command, file=sys.stderr)
    try:
        cli.main()
    except SystemExit as end:
        found[command] = [end.code, heavy()]
print(json.dumps(found))
"""


def test_a_wrong_argument_is_refused_without_torch(tmp_path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for name in ("empty", "full", "K-000001"):
        (tmp_path / name).mkdir()
    for name in (".", "full", "K-000001"):
        Image.new("RGB", (300, 200)).save(tmp_path / name / "a.png")
    asked = json.dumps([*REFUSED])  # all in one process
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=asked, cwd=tmp_path, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == {command: [1, []] for command in REFUSED}
    for part in done.stderr.split("\n$ ")[1:]:
        command, printed = part.split("\n", 1)
        assert REFUSED[command] in printed, command
        assert "\n  -> " in printed, command
