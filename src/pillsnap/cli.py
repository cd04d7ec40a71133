"""The `pillsnap` command. Each command imports what it needs when it runs, so help is instant."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from pillsnap import cli_run, cli_use, files, surroundings
from pillsnap.errors import ParameterError, UsageError, UserError
from pillsnap.params import DATA_ROOT_VARIABLE, Params, load

PLAIN = {  # what typer 0.29 takes over from pydantic
    r"Input should be greater than or equal to (\S+)": r"must be at least \1",
    r"Input should be less than or equal to (\S+)": r"must be at most \1",
    r"Input should be a valid integer.*": "must be a whole number",
    r"Input should be a valid number.*": "must be a number",
    r"Value error, ": "",
}


class Commands(TyperGroup):
    """The commands; a wrong value of an option is refused in plain words."""

    def invoke(self, ctx: Any) -> Any:
        """As typer does."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            for pattern, text in PLAIN.items():
                error.message = re.sub(pattern, text, error.message)
            raise


app = typer.Typer(
    cls=Commands,
    help="Detect and identify pills in photos: a two-stage pipeline on DVC.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich takes 0.2 s to import
    context_settings={"max_content_width": 120},
    pretty_exceptions_enable=False,
)
app.add_typer(cli_run.app)
app.add_typer(cli_use.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pillsnap {surroundings.version()}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, help="Print version and git revision.")
]


@app.callback()
def _options(version: Version = False) -> None:
    """Options of `pillsnap` itself."""


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
    sys.exit(2 if isinstance(error, UsageError) else 1)


@app.command()
def demo() -> None:
    """Draw synthetic pills, run the whole pipeline on them and print the metrics."""
    from pillsnap.demo.progress import lines
    from pillsnap.demo.tree import draw_tree
    from pillsnap.operation import targets as goals
    from pillsnap.stage.hardware import cpu_count

    os.environ.pop(DATA_ROOT_VARIABLE, None)
    params = load()
    if params.scale != "demo":
        raise ParameterError(
            f"params.yaml sets scale: {params.scale}; the demo needs scale: demo.",
            "Set it back: git checkout params.yaml (or set scale: demo in it).",
        )
    root = Path(params.at_scale.root or "data/demo")
    draw_tree(root, params.demo, params.seed, cpu_count(), lines("drawing photos"))
    _fingerprint(params)
    code = _dvc("repro")
    if code:
        raise typer.Exit(code)
    _print(goals.headlines(params))
    photos = (root / "val" / "images" / "combination").rglob("K-*_200.png")
    activate = Path(sys.prefix, "bin", "activate")
    if activate.is_file() and "VIRTUAL_ENV" not in os.environ:  # as after python3 run.py demo
        typer.echo(f"\nFor the commands below: . {os.path.relpath(activate)}")
    typer.echo(
        "\nThese pills are synthetic: the metrics do not predict those of real ones. Results:\n"
        f"  {params.artifacts_dir}/report.html         evaluation with pictures\n"
        f"  {params.artifacts_dir}/validation.html     contents of the data set\n"
        "  dvc plots show                      curves (dvc_plots/index.html)\n"
        "  dvc exp run -S train.batch_size=24  an experiment; then dvc metrics diff\n"
        f"  pillsnap predict {min(photos, default='IMAGE...')}"
    )


@app.command()
def fingerprint() -> None:
    """Scan the data root and write data/fingerprints/<scale>.json: the version of the photos."""
    _fingerprint(load())


@app.command("init-scale")
def init_scale(name: Annotated[str, typer.Argument(help="Name of the new scale.")]) -> None:
    """Write a scale into params.yaml whose values fit the photos of data.root."""
    from pillsnap.operation import init_scale as scales
    from pillsnap.stage.log import Bar

    bar = Bar("read")
    try:
        text = scales.init(name, Path("params.yaml"), bar.update)
    finally:
        bar.stop()
    typer.echo(text)


@app.command()
def targets() -> None:
    """Compare the metrics with the goals, estimate stage 4; exit 1 when a goal is missed."""
    from pillsnap.operation import targets as goals

    params = load()
    stale = goals.stale(params)
    table, met = goals.compare(params, not stale)
    from pillsnap.operation import preflight as checks  # imports torch, as the next one does
    from pillsnap.operation import readiness

    _print(table)
    if stale:
        typer.echo(f"These metrics are not of the checkpoints on disk: {stale}\n  -> dvc repro")
    title = f"ready for {readiness.NEXT}? judged by scale {params.scale}"
    _print(checks.render(readiness.points(params, not stale), title))
    raise typer.Exit(0 if met else 1)


@app.command()
def compare(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(help="Commits or experiments; without: HEAD and its five newest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ten metrics of the workspace and of revisions side by side; the parameters that differ."""
    from pillsnap.operation import compare as comparison

    compared = comparison.compare(revisions or [])
    if as_json:
        typer.echo(json.dumps(compared, ensure_ascii=False, indent=1))
    else:
        _print(comparison.render(compared))


@app.command()
def preflight(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check machine, data and repository before a training; exit 1 when a check fails."""
    from pillsnap.operation import preflight as checks

    points = checks.check(load(), Path())
    if as_json:
        typer.echo(checks.as_json(points))
    else:
        _print(checks.render(points))
    raise typer.Exit(1 if checks.failures(points) else 0)


@app.command()
def verify(
    bundle: Annotated[
        Path | None, typer.Argument(help="Verify this release bundle instead.")
    ] = None,
) -> None:
    """Rehash photos, outputs, checkpoints and DVC's cache; exit 1 when a file changed."""
    if bundle is not None:
        raise typer.Exit(cli_use.verify_bundle(bundle))
    from pillsnap.operation import verify as integrity

    raise typer.Exit(integrity.command(load()))


@app.command()
def validate(
    part: Annotated[str, typer.Option(metavar="I/N", help="Which part: 1/3, 2/3 or 3/3 of three.")],
) -> None:
    """Read one part of the photos, as a job of an array; dvc repro validate joins the parts."""
    from pillsnap.validation import parts

    wanted, params = parts.parse(part), load()
    from pillsnap.demo.progress import lines
    from pillsnap.validation import validate as stage

    places = stage.ValidationPaths.of(params)
    prepared = stage.read_part(places, params, wanted, lines("reading photos"))
    typer.echo(f"part {wanted}: {prepared}, {len(prepared.rejected)} rejected")


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
    from pillsnap.formats import fingerprint as versions
    from pillsnap.stage.log import Bar

    path, bar = versions.path_of(params.scale), Bar("scan")
    try:
        taken = versions.take(params.data_root(), params.data_format, bar.update)
    finally:
        bar.stop()
    versions.write(path, params.scale, taken)
    typer.echo(f"{path}: {taken.count} files, {taken.bytes / 1e9:.2f} GB, {taken.sha256[:12]}")


def _print(renderable: object) -> None:
    from rich.console import Console

    Console().print(renderable)


if __name__ == "__main__":
    main()
