"""Wrong usages of every command: one screen, the right exit code, under a second, without torch.

A case is what was typed, the exit code (2 usage, 1 input), words of the refusal and, where the
message offers one, the cure: a command that is run in the same state, with words of its output.
"""

import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest
from PIL import Image

from make.import_graph import ROOT
from pillsnap import cli
from pillsnap.web.server import Server

TRAINED = "classes.csv is missing"  # the next thing that is wrong: the folder holds no model
KEY = "$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')"
CODES, COUNTS = "one K-code per line", "a K-code or EDI code and a count per line"
CASES = """
trian | 2 | No such command 'trian'. Did you mean 'train'? | train --help | Check the machine
--versoin | 2 | Possible options: --version | --version | pillsnap 0
gallery lst | 2 | Did you mean 'list'? | gallery list | 0 drugs
gallery list now | 2 | unexpected extra argument | gallery list | 0 drugs
register imprt x.csv | 2 | Did you mean 'import'? | register import --help | 낱알식별
train --epoch 3 | 2 | Possible options: --epochs | train --help | --epochs
train --epochs 0 | 2 | '--epochs': must be at least 1 | train --help | x>=1
train --epochs three | 2 | '--epochs': must be a whole number | train --help | int range
train --epochs | 2 | '--epochs' requires an argument
train --batch-size 1 | 2 | '--batch-size': must be at least 2
train --detection-batch-size 0 | 2 | '--detection-batch-size': must be at least 1
train --lr fast | 2 | '--lr': must be a number
train --lr -1 --yes | 2 | train.lr is -1.0: must be greater than 0 | train --help | learning rate
train --lr nan --yes | 2 | train.lr is nan: must be a finite number
train --log-level LOUD | 2 | 'LOUD' is not one of 'debug', 'info'
train --scale stage9 --yes | 2 | known scales are demo, stage1 | train --help | stage4
train --scale Stage3 --yes | 2 | scale is 'Stage3', known scales are
train --checkpoint none.pt --yes | 1 | none.pt is missing
train --checkpoint empty --yes | 1 | empty is not a file
train --back --epochs 3 | 2 | --back takes no other option | train --back | to go back to
train extra | 2 | unexpected extra argument
monitor --port 70000 | 2 | '--port': must be at most 65535 | monitor --help | --port
monitor --port http | 2 | '--port': must be a whole number
monitor --port -1 | 2 | '--port': must be at least 0
monitor --port BUSY | 1 | Port BUSY on 127.0.0.1 cannot be used | OFFERED | http://127.0.0.1
monitor --host 0.0.0.0 | 1 | opens the monitor | EXPORTED monitor --host 0.0.0.0 --port 0 | http://
PILLSNAP_MONITOR_TOKEN=short monitor --host :: | 1 | has 5 characters, fewer than 16
monitor --host 192.0.2.1 | 1 | opens the monitor to the network
monitor --allow-host http://a/ | 1 | is not a host name | monitor --allow-host a --port 0 | http://
monitor --scale stage9 | 1 | it has demo, stage1 | monitor --scale stage1 --port 0 | stage1
monitor --status --stop | 2 | exclude each other | monitor --status | no monitor in the background
monitor --daemon --stop | 2 | exclude each other | monitor --status | no monitor in the background
status --scale stage9 | 1 | has no scale | status --scale stage1 | nothing has run
status now | 2 | unexpected extra argument
predict | 2 | Missing argument 'images' | predict --help | Photos, folders or globs
predict none.png | 1 | Missing: none.png
predict none.png 'x*.png' --json | 1 | Missing: none.png, x*.png
predict empty | 1 | empty holds no picture
predict a.png --topp 3 | 2 | Possible options: --top | predict a.png --top 3 | TRAINED
predict a.png --top 0 | 2 | '--top': must be at least 1 | predict a.png --top 1 | TRAINED
predict a.png --top many | 2 | '--top': must be a whole number
predict a.png --json --csv | 2 | were both given | predict a.png --json | TRAINED
predict a.png --codes none.txt | 1 | none.txt is missing
predict a.png --codes codes.txt | 1 | 'K-1' is not | predict a.png --codes ok.txt | TRAINED
predict a.png --codes void.txt | 1 | void.txt holds no code
predict a.png --codes empty | 1 | CODES
predict a.png --codes a.png | 1 | CODES
predict a.png --annotate void.txt | 2 | is a file | predict a.png --annotate out | TRAINED
predict a.png --backend jax | 2 | Use one of torch, onnx | predict a.png --backend torch | TRAINED
predict a.png --device gpu | 2 | Use auto, cpu, cuda or | predict a.png --device cpu | TRAINED
predict a.png --device cuda:9999 | 2 | --device is 'cuda:9999'
predict a.png --model none | 1 | none is no release bundle
predict a.png --model void.txt | 1 | void.txt is no release bundle
predict a.png --model empty | 1 | it has no bundle.json
predict a.png --backend onnx | 1 | is no release bundle
check a.png | 2 | Missing option '--prescription' | check a.png --prescription ok.csv | TRAINED
check a.png --prescription none.csv | 1 | COUNTS
check a.png --prescription words.csv | 1 | 'K-000001,two' is no code and count
check a.png --prescription twice.csv | 1 | names K-000001 twice
check a.png --prescription void.txt | 1 | holds no drug
check a.png --prescription empty | 1 | empty is not a file
check none.png --prescription ok.csv | 1 | Missing: none.png
serve --port 99999 | 2 | '--port': must be at most 65535 | serve --help | --port
serve --port BUSY | 1 | Port BUSY on 127.0.0.1 cannot be used | OFFERED | TRAINED
serve --host 0.0.0.0 | 1 | opens the service | EXPORTED serve --host 0.0.0.0 --port 0 | TRAINED
PILLSNAP_API_KEY=short serve --host 0.0.0.0 | 1 | has 5 characters, fewer than 16
serve --batch-size 0 | 2 | '--batch-size': must be at least 1
serve --port 0 --model none | 1 | is no release bundle
serve --port 0 --device gpu | 2 | --device is 'gpu'
serve --queue 0 | 2 | '--queue': must be at least 1
serve --request-mb 0 | 2 | '--request-mb': must be at least 1
serve --pictures none | 2 | '--pictures': must be a whole number
serve --backend x --port 0 | 2 | Use one of torch, onnx | serve --backend torch --port 0 | TRAINED
enroll | 2 | Missing argument 'code'
enroll K-000001 | 2 | Missing argument 'images' | enroll K-000001 a.png | TRAINED
enroll K-1 a.png | 1 | Write it like K-012345 | enroll K-012345 a.png | TRAINED
enroll K-000001 a.png none.png | 1 | Missing: none.png
enroll K-000001 a.png --device gpu | 2 | --device is 'gpu'
unenroll K-000001 | 1 | K-000001 is not enrolled
search --shape cube | 1 | Use one of: 원형 (round) | search --shape 원형 | TRAINED
search --colour ultraviolet | 1 | Use one of: 하양 (white) | search --colour white | TRAINED
search --imprint A --model none | 1 | none is no release bundle
register import none.csv | 1 | none.csv is missing
register import words.csv | 1 | has no column 품목일련번호
register import bad.xlsx | 1 | bad.xlsx cannot be read: File is not a zip file
register import empty | 1 | empty is not a file
export --out void.txt | 1 | --out void.txt is a file | export --out out | TRAINED
export --out full | 1 | holds other files
export-data | 2 | Missing argument 'out'
export-data out | 2 | Missing option '--format'
export-data out --format zip | 2 | Use one of image | export-data out --format coco | does not exist
export-data empty --format coco | 1 | empty exists | export-data out --format coco | does not exist
export-data out --format coco --most 0 | 2 | '--most': must be at least 1
evaluate-folder none | 1 | none is not a folder
evaluate-folder empty --model none | 1 | is no release bundle
evaluate-folder a.png | 1 | a.png is not a folder
evaluate-folder empty --device gpu | 2 | 'gpu' | evaluate-folder empty --device cpu | TRAINED
validate | 2 | Missing option '--part' | validate --part 1/2 | The demo's photos are not
validate --part 3/2 | 2 | is not I/N | validate --part 1/2 | The demo's photos are not
validate --part two | 2 | --part two is not I/N
validate --prt 1/2 | 2 | Possible options: --part
verify none | 1 | none/SHA256SUMS is missing
verify a.png | 1 | a.png/SHA256SUMS cannot be read
targets | 1 | Measure first: dvc repro
fingerprint | 1 | The demo's photos are not in data/demo
PILLSNAP_DATA_ROOT=/nowhere fingerprint | 1 | The data root /nowhere is not a folder
PILLSNAP_DATA_ROOT=void.txt fingerprint | 1 | The data root void.txt is not a folder
preflight --jsn | 2 | Possible options: --json | preflight --help | Print JSON
"""
TABLE = [[part.strip() for part in line.split(" | ")] for line in CASES.strip().splitlines()]
FILES = {
    "void.txt": "", "codes.txt": "K-1\n", "ok.txt": "K-000001\n", "bad.xlsx": "no",
    "words.csv": "K-000001,two\n", "twice.csv": "K-000001,1\nK-000001,2\n", "ok.csv": "K-000001,1",
    "full/x": "",
}  # fmt: skip


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs `pillsnap` on a line in a project without models: exit code and output."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("PILLSNAP_DATA_ROOT", raising=False)
    for slow in ("torch", "onnxruntime", "sklearn", "ultralytics", "timm"):
        monkeypatch.setitem(sys.modules, slow, None)  # its import fails
    monkeypatch.setattr(Server, "run", lambda *_, **__: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(line):
        words = shlex.split(line)
        while "=" in words[0] and words[0][0].isupper():
            monkeypatch.setenv(*words.pop(0).split("=", 1))
        monkeypatch.setattr(sys, "argv", ["pillsnap", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)  # a server that has ended
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out + printed.err

    return run


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case[0])
def test_a_wrong_usage_is_refused_on_one_screen_and_its_cure_works(call, case) -> None:
    typed, code, words, *cure = case
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        named = {"TRAINED": TRAINED, "CODES": CODES, "COUNTS": COUNTS}
        words = named.get(words, words).replace("BUSY", port)
        started_s = time.process_time()
        found, text = call(typed.replace("BUSY", port))
        assert time.process_time() - started_s < 1
        assert (found, words in text) == (int(code), True), text
        assert (
            len(text.splitlines()) < 20 and "Traceback" not in text and "Input should" not in text
        )
        hinted = text.partition("Try 'pillsnap ")[2].partition("'")[0]
        if hinted:
            assert call(hinted)[0] == 0
        if not cure:
            return
        command, expected = cure
        if command == "OFFERED":
            command = text.partition(": pillsnap ")[2].splitlines()[0]
        if command.startswith("EXPORTED "):
            variable = text.partition("export ")[2].partition("=")[0]
            assert f'export {variable}="{KEY}"' in text
            secret = subprocess.check_output(f"echo {KEY}", shell=True, text=True).strip()
            command = f"{variable}={secret} {command.removeprefix('EXPORTED ')}"
        _, text = call(command)
        assert named.get(expected, expected) in text, text
        assert words not in text


def test_there_are_sixty_cases_and_each_command_has_one() -> None:
    assert len(TABLE) >= 60
    named = {word for typed, *_ in TABLE for word in shlex.split(typed)}
    own = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert own - named == {"demo", "compare"}  # in test_cli.py, and tests/operation/test_compare.py
