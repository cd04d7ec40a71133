"""The `pillsnap` command. Each command imports what it needs when it runs, so help is instant."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pillsnap import cli_use, files, surroundings
from pillsnap.errors import ParameterError, UserError
from pillsnap.params import DATA_ROOT_VARIABLE, Params, load

app = typer.Typer(
    help="Find and name pills in photographs: a two-stage pipeline under DVC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_use.app)


def main() -> None:
    """Run a command; an error that the user can fix ends in one screen and exit code 1."""
    surroundings.prepare(sys.argv)
    try:
        app()
    except UserError as error:
        _refuse(error)
    except ImportError as error:
        refusal = surroundings.missing_library(error)
        if refusal is None:
            raise
        _refuse(refusal)
    except OSError as error:
        refusal = files.disk_fault(error)
        if refusal is None:
            raise
        _refuse(refusal)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(error: UserError) -> NoReturn:
    typer.echo(f"{error.fact}\n  -> {error.cure}", err=True)
    sys.exit(1)


@app.command()
def demo() -> None:
    """Draw invented pills, run the whole pipeline on them and print the figures."""
    from pillsnap.demo import DemoSpec, draw_tree
    from pillsnap.demo.progress import lines
    from pillsnap.stage.hardware import cpu_count

    os.environ.pop(DATA_ROOT_VARIABLE, None)
    params = load()
    if params.scale != "demo":
        raise ParameterError(
            f"params.yaml says scale: {params.scale}; the demo is scale demo.",
            "Go back to it: git checkout params.yaml (or set scale: demo in it).",
        )
    root = Path(params.at_scale.root or "data/demo")
    spec = DemoSpec(**params.demo.model_dump())
    draw_tree(root, spec, params.seed, cpu_count(), lines("drawing photos"))
    _fingerprint(params)
    code = _dvc("repro")
    if code:
        raise typer.Exit(code)
    _show_metrics(params)
    typer.echo(
        "\nSynthetic pills: these figures say nothing about real ones. Where to look:\n"
        f"  {params.artifacts_dir}/report.html         the evaluation, with pictures\n"
        f"  {params.artifacts_dir}/validation.html     what is in the data\n"
        "  dvc plots show                      curves (dvc_plots/index.html)\n"
        "  pillsnap predict IMAGE...           name the pills in photos\n"
        "  dvc exp run -S train.batch_size=24  an experiment; then dvc metrics diff"
    )


@app.command()
def fingerprint() -> None:
    """Scan the data root and write data/fingerprints/<scale>.json: the version of the photos."""
    _fingerprint(load())


@app.command()
def targets() -> None:
    """The goals against the measured figures, and what stage 4 takes; exit 1 when one is missed."""
    from pillsnap.operation import targets as goals

    params = load()
    table, met = goals.compare(params)
    _print(table)
    _print(goals.readiness(params))
    raise typer.Exit(0 if met else 1)


@app.command()
def preflight(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """The checks before a training; exit 1 when one fails."""
    from pillsnap.operation import preflight as checks

    points = checks.check(load(), Path())
    if as_json:
        typer.echo(checks.as_json(points))
    else:
        _print(checks.render(points))
    raise typer.Exit(1 if any(point.status == "fail" for point in points) else 0)


def _log_level(name: str) -> str:
    from pillsnap.stage.run import LOG_LEVELS

    level = name.upper()
    if level not in LOG_LEVELS:
        raise typer.BadParameter(f"{name} is none of {', '.join(LOG_LEVELS)}")
    return level


@app.command()
def train(
    scale: Annotated[str | None, typer.Option(help="demo, stage1 ... stage4.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Crops per step; batch norm needs two.")
    ] = None,
    detection_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Frames per step.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak rate of the classifier.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on from an unfinished run, or forget it.")
    ] = True,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Classifier weights to start from.")
    ] = None,
    log_level: Annotated[
        str, typer.Option(callback=_log_level, help="DEBUG, INFO, WARNING or ERROR.")
    ] = "INFO",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Only restore the committed params.yaml and dvc.lock.")
    ] = False,
) -> None:
    """Check the machine, then run the pipeline, with a log file and failures explained."""
    from pillsnap.operation import back as way_back

    if back:
        typer.echo(way_back.restore(Path()))
        return
    wanted = {
        "scale": scale,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.detection_batch_size": detection_batch_size,
        "train.lr": lr,
    }
    from pillsnap.operation import train as operation

    code = operation.train(
        wanted, checkpoint=checkpoint, resume=resume, log_level=log_level, yes=yes
    )
    raise typer.Exit(code)


@app.command()
def monitor(
    host: Annotated[str, typer.Option(help="Beyond loopback a token is required.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8888,
    scale: Annotated[str | None, typer.Option(help="Which runs to show.")] = None,
    daemon: Annotated[bool, typer.Option("--daemon", help="Start in the background.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Print whether one is running.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the one in the background.")] = False,
    allow_host: cli_use.AllowHost = None,
) -> None:
    """Show both trainings live on a web page."""
    from pillsnap.monitor import command

    run_dir = Path(".checkpoints/monitor")
    if status:
        raise typer.Exit(command.status(run_dir))
    if stop:
        command.stop(run_dir)
        return
    artifacts_dir = command.artifacts_dir_of(Path("params.yaml"), scale)
    if daemon:
        command.start(artifacts_dir, host, port, run_dir, allow_host or ())
    else:
        command.monitor(artifacts_dir, host, port, allow_host or ())


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep it on the screen.")] = False,
    scale: Annotated[str | None, typer.Option(help="Which runs to show.")] = None,
) -> None:
    """Show in the terminal what the dashboard shows."""
    from pillsnap.monitor import command, terminal

    terminal.show(command.artifacts_dir_of(Path("params.yaml"), scale), watch)


@app.command()
def verify(
    bundle: Annotated[Path | None, typer.Argument(help="A release bundle instead.")] = None,
) -> None:
    """Rehash photos, crops, checkpoints and DVC's cache; name what changed, exit 1 if any did."""
    if bundle is not None:
        raise typer.Exit(cli_use.verify_bundle(bundle))
    from pillsnap.demo.progress import lines
    from pillsnap.operation import verify as integrity

    params = load()
    try:
        root = params.data_root()
    except UserError as error:
        typer.echo(f"photos are not looked at: {error.fact}", err=True)
        root = None
    found = integrity.verify(
        Path(), root, params.data_dir, params.artifacts_dir, lines("hashing files")
    )
    for damage in found.damages:
        typer.echo(f"{damage.path}: {damage.fact}\n  -> {damage.cure}")
    typer.echo(
        f"looked at {found.photos} photos, {found.outs} outs, {found.cache_files} cache files and "
        f"{found.checkpoints} checkpoints: {len(found.damages)} damaged"
    )
    raise typer.Exit(1 if found.damages else 0)


def _dvc(*arguments: str) -> int:
    """0, 1 or 130; Ctrl-C reaches dvc as well, whose stage saves before it ends: wait for that."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(["dvc", *arguments], env={**os.environ, "PATH": programs})
    interrupted = False
    while True:
        try:
            code = process.wait()
            return 130 if code and interrupted else min(abs(code), 1)
        except KeyboardInterrupt:
            interrupted = True


def _fingerprint(params: Params) -> None:
    from pillsnap.aihub import fingerprint as versions

    path = versions.path_of(params.scale)
    taken = versions.take(params.data_root())
    versions.write(path, params.scale, taken)
    typer.echo(f"{path}: {taken.count} files, {taken.bytes / 1e9:.2f} GB, {taken.sha256[:12]}")


def _show_metrics(params: Params) -> None:
    from pillsnap.operation import targets as goals

    _print(goals.headlines(params))


def _print(renderable: object) -> None:
    from rich.console import Console

    Console().print(renderable)


if __name__ == "__main__":
    main()
