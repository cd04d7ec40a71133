"""The commands that run the pipeline and follow it (train, monitor, status); search, register."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pillsnap import files
from pillsnap import params as parameters
from pillsnap.errors import CheckpointError, ParameterError, UsageError

app = typer.Typer()
register_app = typer.Typer(
    help="The register of drugs that `search` looks in.", no_args_is_help=True
)
app.add_typer(register_app, name="register")

AllowHost = Annotated[list[str] | None, typer.Option(help="Host name of a proxy; repeatable.")]


@app.command()
def train(
    scale: Annotated[str | None, typer.Option(help="demo, stage1, ... or stage4.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Crops per step; at least 2 for batch norm.")
    ] = None,
    detection_batch_size: Annotated[int | None, typer.Option(min=1, help="Frames a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of the classifier.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Resume interrupted trainings, or start over.")
    ] = True,
    checkpoint: Annotated[Path | None, typer.Option(help="Initial classifier weights.")] = None,
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        typer.Option(case_sensitive=False, help="Least level of log lines."),
    ] = "INFO",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Only restore the committed params.yaml and dvc.lock.")
    ] = False,
) -> None:
    """Check the machine, then run the pipeline with a log file; explain failures."""
    wanted = {
        "scale": scale,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.detection_batch_size": detection_batch_size,
        "train.lr": lr,
    }
    if back:
        if checkpoint or any(value is not None for value in wanted.values()):
            raise UsageError("--back takes no other option.", "pillsnap train --back")
        from pillsnap.operation import back as way_back

        typer.echo(way_back.restore(Path()))
        return
    from pillsnap.operation import changes

    path = Path("params.yaml")  # judged before torch is imported
    before = parameters.read(path)
    parameters.parse(before, path)
    try:
        parameters.parse(changes.applied(before, changes.of(wanted, before)), path)
    except ParameterError as error:
        fact = error.fact.removeprefix(f"{path} cannot be used:\n")
        raise UsageError(fact, "Give another value: pillsnap train --help") from None
    if checkpoint is not None:
        cure = "Name a classifier's checkpoint: --checkpoint PATH"
        with files.opened(checkpoint, cure, CheckpointError, files.LARGEST_MODEL_BYTES):
            pass
    from pillsnap.operation import train as operation

    code = operation.train(
        wanted, checkpoint=checkpoint, resume=resume, log_level=log_level, yes=yes
    )
    raise typer.Exit(code)


@app.command()
def monitor(
    host: Annotated[str, typer.Option(help="Any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8888,
    scale: Annotated[str | None, typer.Option(help="Scale whose runs are shown.")] = None,
    daemon: Annotated[bool, typer.Option("--daemon", help="Start in the background.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Print whether one runs.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the background one.")] = False,
    allow_host: AllowHost = None,
) -> None:
    """Serve the live dashboard of the trainings."""
    from pillsnap.monitor import command

    if daemon + status + stop > 1:
        fact = "--daemon, --status and --stop exclude each other."
        raise UsageError(fact, "Give one: pillsnap monitor --status")
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
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    scale: Annotated[str | None, typer.Option(help="Scale whose runs are shown.")] = None,
) -> None:
    """Show the state of the trainings in the terminal."""
    from pillsnap.monitor import command, terminal

    terminal.show(command.artifacts_dir_of(Path("params.yaml"), scale), watch)


@app.command()
def search(
    imprint: Annotated[str, typer.Option(help="Letters and digits on one side or both.")] = "",
    shape: Annotated[str, typer.Option(help="round, oval, oblong ... or 원형, 장방형 ...")] = "",
    colour: Annotated[str, typer.Option(help="white, yellow ... or 하양, 노랑 ...")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: all drugs.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Print all drugs of all zones.")] = False,
    model: Annotated[Path | None, typer.Option(help="Search a release bundle's classes.")] = None,
) -> None:
    """Find drugs by imprint, shape and colour; only a contradicting record excludes one."""
    from pillsnap.places import Places
    from pillsnap.register import command, store
    from pillsnap.register.search import Query
    from pillsnap.release.bundle import Bundle

    query = Query.of(imprint, shape, colour)
    if model is None:
        drugs = store.current(Places.of(parameters.load()).classes)
    else:
        Bundle(model).describe()
        drugs = store.of_classes(Bundle(model).classes)
    typer.echo(command.search(drugs, query, as_json, show_all))


@register_app.command("import")
def register_import(
    table: Annotated[Path, typer.Argument(help="The ministry's table: CSV or .xlsx.")],
    any_size: Annotated[bool, typer.Option(help="Even if a tenth of the drugs is gone.")] = False,
) -> None:
    """Import the ministry's 낱알식별 table; an error changes nothing."""
    from pillsnap.places import Places
    from pillsnap.register import command

    typer.echo(command.import_table(table, Places.of(parameters.load()).classes, any_size))
