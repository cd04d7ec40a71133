"""Known failures of the machine and of the inputs; specific entries come before general ones."""

import re

RESUME = "pillsnap train  # resumes where it stopped"
# DVC's other lock waits for the file that its usual one leaves
HARDLINK = "rm -f .dvc/tmp/lock && dvc config --local core.hardlink_lock true"


class Known:
    """A kind of failure; {names} in its texts are keys of diagnosis.gather or pattern groups;
    `codes` are exit codes that mean it without any text."""

    def __init__(self, kind: str, pattern: str, *texts: str, codes: tuple[int, ...] = ()) -> None:
        self.kind, self.codes = kind, codes
        self.pattern = re.compile(pattern, re.IGNORECASE | re.MULTILINE)
        self.texts = texts  # what happened, the cause, and the cures


MACHINE = (
    Known(
        "interrupted",
        r"interrupted by the user|: interrupted; the same command resumes|^KeyboardInterrupt$",
        "The run was interrupted.",
        "Ctrl-C, a closed terminal or `kill` ended it; what was complete is kept.",
        RESUME,
        codes=(130, 252, -2, -15),
    ),
    Known(
        "lock",
        r"Unable to acquire lock|is busy, it is being blocked by|This training already runs"
        r"|LockError\b",
        "Another run holds the lock.",
        "Another `pillsnap train`, `dvc repro` or editor extension works in this repository.",
        "pgrep -af 'dvc|train_'  # which: wait for it, or kill <pid>",
        "rm -f .dvc/tmp/lock .dvc/tmp/rwlock  # only when nothing of the above runs",
        f"{HARDLINK}  # on a disk without file locks",
    ),
    Known(
        "shared_memory",
        r"killed by signal: Bus error|insufficient shared memory|unable to mmap \d+ bytes"
        r"|unable to allocate shared memory|unable to open shared memory object",
        "The loader processes ran out of shared memory (/dev/shm).",
        "Batches travel through /dev/shm ({shared_memory}); {num_workers} loader processes with "
        "batches of {batch_size} crops and {detection_batch_size} frames need more.",
        "dvc exp run -S train.num_workers=0  # or, in a container: docker run --shm-size=8g",
    ),
    Known(
        "gpu_memory",
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation"
        r"|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|Out of GPU memory (with|even)",
        "The GPU ran out of memory.",
        "A step needs more than is free on it ({gpu}); batches were {batch_size} crops and "
        "{detection_batch_size} frames of {detection_px} px.",
        "nvidia-smi  # who else uses it",
        "pillsnap train --batch-size {half_batch_size} "
        "--detection-batch-size {half_detection_batch_size}",
    ),
    Known(
        "disk_full",
        r"No space left on device|\bENOSPC\b|Disk quota exceeded|\[Errno (28|122)\]|File too large"
        r"|unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing|(device|disk) is full",
        "The disk is full, or a limit of size is reached.",
        "Free here: {disk}; temporary folder: {tmp_disk}.",
        "df -h . {tmp_dir}; ulimit -f  # the space, and the largest file allowed",
        "dvc gc --workspace  # drops every cached version but the workspace's, after a question",
        RESUME,
    ),
    Known(
        "memory",
        r"killed by signal: Killed|exited with (-9|137)\b|\b(_Array)?MemoryError\b"
        r"|DefaultCPUAllocator: (can't|not enough)|Cannot allocate memory|\[Errno 12\]"
        r"|BrokenProcessPool|A worker process was killed|malloc of size \d+ failed"
        r"|DataLoader worker \(pid\(s\) [\d, ]+\) exited unexpectedly",
        "The machine ran out of memory, or a process was killed.",
        "The kernel kills when memory runs out; now {ram} is free, loaders: {num_workers}.",
        "sudo dmesg | grep -i 'killed process'  # whether it was the kernel",
        "dvc exp run -S train.num_workers=1  # and validate.num_workers=1 for the photos",
        "pillsnap train --batch-size {half_batch_size}",
        codes=(-9, 137),
    ),
    Known(
        "gpu_lost",
        r"GPU is lost|fallen off the bus|GPU has been lost|uncorrectable ECC|"
        r"unspecified launch failure|CUDA error: (an illegal memory access|unknown error)",
        "The GPU failed in mid-run.",
        "Heat, power, a driver reset or a bad card; last seen: {gpu}.",
        "sudo dmesg | grep -i xid  # what the driver says",
        RESUME,
    ),
    Known(
        "cuda_architecture",
        r"no kernel image is available|is not compatible with the current PyTorch installation",
        "This torch has no code for this GPU.",
        "Installed is torch {torch}; the GPU is {gpu}.",
        "pillsnap preflight  # names the GPU's capability and those torch was built for",
        "dvc exp run -S train.device=cpu",
    ),
    Known(
        "cuda_assert",
        r"device-side assert",
        "A check on the GPU failed (device-side assert).",
        "Most often a class index outside the model's classes: manifests and class table differ.",
        "dvc repro -f build_manifest validate",
        "dvc exp run -S train.device=cpu  # names the right line",
    ),
    Known(
        "cuda_driver",
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old"
        r"|Driver/library version mismatch|Found no NVIDIA driver|No CUDA GPUs are available"
        r"|not compiled with CUDA enabled|torch sees 0 CUDA devices"
        r"|lib(cuda|cudart|cudnn|cublas|nvrtc)\S*: cannot open shared|CUDNN_STATUS_(?!ALLOC)\w+"
        r"|CUDA unknown error|forward compatibility was attempted|cudaErrorInsufficientDriver",
        "torch cannot use the GPU's driver.",
        "torch {torch} and the driver ({gpu}) do not fit, or the GPU is hidden from this process.",
        "nvidia-smi  # the driver, and the newest CUDA it knows",
        "sudo reboot  # after a driver update ('version mismatch')",
        "dvc exp run -S train.device=cpu",
    ),
)

INPUTS = (
    Known(
        "class_table",
        r"was trained on another class table|class table \(?[0-9a-f. ]*\)? ?(differs|mismatch)"
        r"|size mismatch for \S*(classifier|head|fc)\.",
        "The checkpoint and the class table do not belong together.",
        "The classes were chosen anew since (scale {scale}), so its outputs mean other codes.",
        "pillsnap train --fresh",
        "dvc checkout --force  # the checkpoint and the classes.csv of one and the same version",
    ),
    Known(
        "nan",
        r"is unusable even after going back|loss is not a number|NaN persisted for"
        r"|corrupted with NaN|(Loss|Fitness) NaN/Inf|FloatingPointError|returned nan values",
        "The loss is not a number any more.",
        "The learning rate (classifier {lr}, detector {detection_lr}) is too high, or fp16 fails.",
        "pillsnap train --fresh --lr {tenth_lr}",
        "dvc exp run -S train.mixed_precision=off",
    ),
    Known(
        "checkpoint",
        r"is not a PillSnap checkpoint|is damaged: its weights|Weights only load failed"
        r"|PytorchStreamReader failed|UnpicklingError|invalid magic number|SafetensorError"
        r"|Error\(s\) in loading state_dict|is not a file of weights|holds weights of another model"
        r"|holds a \S+ model, not|unexpected EOF, expected \d+ more bytes|Invalid magic number",
        "A checkpoint cannot be used: it is damaged, foreign or of another model.",
        "It was cut short, or comes from elsewhere, or belongs to other parameters.",
        "dvc checkout --force  # the version DVC knows",
        "pillsnap train --fresh  # without the unfinished one",
    ),
    Known(
        "data_root",
        r"No data root:|The data root .* (?:is not a folder|cannot be listed)|holds no photo \("
        r"|Stale file handle|\[Errno 116\]|Transport endpoint is not connected|\[Errno 107\]"
        r"|\[Errno 5\] Input/output error|Host is down|\[Errno 112\]",
        "The photos cannot be reached.",
        "The data root {data_root} is unset, unmounted, or its disk or server fails.",
        "ls {data_root}",
        "export PILLSNAP_DATA_ROOT=/path/to/the/AI-Hub/tree",
    ),
    Known(
        "permission",
        r"(\bPermissionError\b|\[Errno (1|13|30)\]|Read-only file system|Permission denied)"
        r"(.*?'(?P<path>/?[^']+)')?",
        "A file may not be read or written. {path}",
        "The folder belongs to someone else or is mounted read-only; you are {user}.",
        "ls -ld . {path}",
        'sudo chown -R "$USER" artifacts data .dvc .checkpoints logs',
    ),
    Known(
        "open_files",
        r"Too many open files|\[Errno 24\]|Pin memory thread exited unexpectedly",
        "Too many files are open.",
        "The limit of this shell is {open_files}; loader processes share it.",
        "ulimit -n 65536 && pillsnap train",
        "dvc exp run -S train.num_workers=0",
    ),
    Known(
        "library",
        r"ImportError: \S*?(?P<path>\blib[\w.+-]+\.so[.\d]*): ",
        "A library of the system is missing: {path}.",
        "Slim images lack what OpenCV needs.",
        "sudo apt install libgl1 libglib2.0-0  # Fedora: sudo dnf install mesa-libGL glib2",
    ),
    Known(
        "environment",
        r"ModuleNotFoundError|^ImportError|(python|dvc): (command )?not found"
        r"|No such file or directory: '(python|dvc)'|exited with 127\b",
        "A program or library is missing.",
        "The command ran outside the project's environment, or that is incomplete.",
        "source .venv/bin/activate && pillsnap train",
        "python3 run.py check  # completes the environment",
        codes=(127,),
    ),
    Known(
        "network",
        r"could not be fetched:|LocalEntryNotFoundError|Temporary failure in name resolution"
        r"|Name or service not known|Max retries exceeded|Network is unreachable",
        "Something could not be fetched from the network.",
        "Pretrained weights come from a hub, cached versions from the DVC remote.",
        "pillsnap preflight  # which weights are at hand",
        "dvc exp run -S scales.{scale}.classifier_weights=/path/to/model.safetensors",
    ),
)
