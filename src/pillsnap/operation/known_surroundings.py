"""Known failures of what a run is surrounded by: the user, the system's libraries, git, DVC."""

from pillsnap.operation.known_failures import HARDLINK, Known

ASCII_CACHE = 'ln -sfn "$PWD" ~/pillsnap-ascii && dvc cache dir --local ~/pillsnap-ascii/.dvc/cache'

SYSTEM = (
    Known(
        "no_user",
        r"getpwuid\(\): uid not found|could not determine (the )?home dir|No username set in",
        "This user has no entry in /etc/passwd, or no home folder.",
        "Containers run under any uid; some libraries ask for the user's name and home.",
        "export HOME={tmp_dir} LOGNAME=me USER=me && pillsnap train",
    ),
    Known(
        "locale",
        r"surrogates not allowed|'ascii' codec can't encode",
        "The locale cannot express a path, or DVC cannot in the copies of --temp and --queue.",
        "The path of this repository holds letters beyond ASCII.",
        "export PYTHONUTF8=1 && pillsnap train",
        f"{ASCII_CACHE}  # for --temp and --queue",
    ),
    Known(
        "seed",
        r"Seed must be between 0 and 2\*\*32|seed is \d+: must be",
        "The seed is out of range.",
        "NumPy takes 0 to 2**32 - 1, and every process of a training adds its rank.",
        "dvc exp run -S seed=17",
    ),
    Known(
        "compiler",
        r"InvalidCxxCompiler|No working C\+\+ compiler|Failed to find C compiler"
        r"|\bPython\.h: No such",
        "torch.compile needs a C++ compiler and Python's headers.",
        "Slim images have neither.",
        "dvc exp run -S train.compile=off",
        "sudo apt install g++ python3-dev",
    ),
    Known(
        "noexec",
        r"(?P<path>/[^\s:]+): failed to map segment from shared object",
        "The code in {path} may not be executed.",
        "Its disk is mounted noexec, as /tmp is on many servers.",
        'export TMPDIR="$PWD/.checkpoints/tmp" && mkdir -p "$TMPDIR" && pillsnap train',
    ),
    Known(
        "illegal_instruction",
        r"Illegal instruction|required CPU features were not|exited with (-4|132)\b",
        "This processor lacks instructions that a package was built for.",
        "Packages from PyPI expect AVX2, which old and emulated processors lack.",
        "grep -ow -m1 avx2 /proc/cpuinfo || echo no AVX2",
        "pip install 'polars[rtcompat]'  # where the message names polars",
        codes=(-4, 132),
    ),
    Known(
        "file_locks",
        r"locking protocol|No locks available|\[Errno (37|524)\]",
        "The disk of this repository takes no file locks.",
        "Some network file systems do not; DVC, SQLite and the checkpoints need locks.",
        "df -T .  # which file system; a clone on a local disk works",
        f"{HARDLINK}  # for DVC's own lock",
    ),
    Known(
        "linked_outputs",
        r"inside symlinked directories",
        "A folder of outputs is a link, and DVC takes no outputs there.",
        "data or artifacts was moved to another disk and linked.",
        "pillsnap preflight  # names the link, and how to mount it instead",
    ),
    Known(
        "site_cache",
        r"Permission denied: '(?P<path>/(var/tmp|var/cache|Library/Caches)/dvc\b[^']*)'"
        r"|unable to open database file|attempt to write a readonly database",
        "DVC's cache that all users share belongs to another one. {path}",
        "Another user's DVC made it before; outputs and versions are not in it.",
        'export DVC_SITE_CACHE_DIR="$PWD/.dvc/tmp/site" && pillsnap train',
    ),
    Known(
        "old_library",
        r"(?P<path>/[^\s:]+): version [`'](GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found",
        "{path} is older than a package needs.",
        "The system is old, or LD_LIBRARY_PATH (conda, modules) puts an older copy first.",
        "env -u LD_LIBRARY_PATH pillsnap train",
        "ldd --version  # torch needs glibc 2.28",
    ),
)

DVC = (
    Known(
        "git_ownership",
        r"detected dubious ownership in repository at '(?P<path>[^']+)'"
        r"|repository path '(?P<other>[^']+)' is not owned by current user",
        "git does not use this repository: {path} belongs to another user.",
        "The checkout was made by another uid, often outside of a container.",
        "git config --global --add safe.directory '{path}'",
    ),
    Known(
        "git_repository",
        r"not a git repository|Git repository is required"
        r"|do(es)? not have any commits yet|No commits|Empty git repo|Only supported for Git repo",
        "There is no git repository with a commit here.",
        "Changed parameters run as a DVC experiment, and that needs git; `dvc repro` does not.",
        "git init && git add -A && git commit -m 'PillSnap'",
        "pillsnap train  # without options: edit params.yaml instead",
    ),
    Known(
        "dvc_missing_cache",
        r"Missing cache files:|Checkout failed for following targets"
        r"|files failed to (pull|download)|neither locally nor on remote"
        r"|failed to pull data from the cloud",
        "DVC's cache lacks files that dvc.lock names.",
        "They were made elsewhere and never pushed, or the cache was cleaned.",
        "dvc pull",
        "dvc repro  # makes them again",
    ),
    Known(
        "dvc_dependency",
        r"(dependency|missing data 'source':) '?(?P<path>[^'\s]+)'?( does not exist)?"
        r"|No such file or directory: '(?P<other>[^']+)'",
        "A stage's input {path} is missing.",
        "An earlier stage did not make it, or it was removed.",
        "git checkout data/fingerprints  # if it is a fingerprint",
        "dvc repro",
    ),
    Known(
        "dvc_yaml",
        r"'(\./)?dvc\.yaml' (is invalid|validation failed)|unable to read: 'dvc\.(yaml|lock)'"
        r"|Could not find '[\w.]+'|Key '[\w.]+' is not in struct|failed to parse '[^']*' in '"
        r"|YAML file structure is corrupted|RWLock-file .*(corrupted|format)",
        "DVC cannot read dvc.yaml, dvc.lock or params.yaml.",
        "One of them is damaged or half merged, or a key was mistyped or removed.",
        "git diff HEAD -- dvc.yaml dvc.lock params.yaml",
        "git checkout dvc.yaml dvc.lock params.yaml",
    ),
)
