"""Known failures of DVC and git."""

from pillsnap.operation.known_failures import Known

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
