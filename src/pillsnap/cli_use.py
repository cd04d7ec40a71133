"""The commands that use a trained recogniser: predict, serve, enroll, export, evaluate-folder."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pillsnap.errors import UsageError
from pillsnap.params import load

app = typer.Typer()
gallery_app = typer.Typer(help="Drugs that were added without training.", no_args_is_help=True)
app.add_typer(gallery_app, name="gallery")

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Backend = Annotated[str, typer.Option(help="torch or onnx.")]
Model = Annotated[Path | None, typer.Option(help="Release bundle, instead of the checkpoints.")]
AllowHost = Annotated[list[str] | None, typer.Option(help="Host name of a proxy; repeatable.")]
Imprint = Annotated[
    bool | None, typer.Option("--imprint/--no-imprint", help="Read imprints; if installed, yes.")
]
RefuseMore = Annotated[bool, typer.Option("--refuse-more", help="Accept fewer pills.")]
RefuseLess = Annotated[bool, typer.Option("--refuse-less", help="Accept more pills.")]
KnownRecall = Annotated[
    float | None, typer.Option(min=0, max=1, help="Share of known pills to accept.")
]
Single = Annotated[bool, typer.Option("--single", help="A picture is one pill's crop.")]


@app.command()
def predict(
    images: Annotated[list[str], typer.Argument(help="Photos, folders or globs.")],
    top: Annotated[int, typer.Option(min=1, help="Candidates per pill.")] = 5,
    codes: Annotated[Path | None, typer.Option(help="List of allowed K-codes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    annotate: Annotated[Path | None, typer.Option(help="Folder for annotated pictures.")] = None,
    single: Single = False,
    pair: Annotated[bool, typer.Option("--pair", help="Two photos show one pill's sides.")] = False,
    refuse_more: RefuseMore = False,
    refuse_less: RefuseLess = False,
    known_recall: KnownRecall = None,
    imprint: Imprint = None,
    device: Device = "auto",
    backend: Backend = "torch",
    model: Model = None,
) -> None:
    """Recognise the pills in photos: boxes, K-codes, drugs, EDI codes, confidence or "unknown"."""
    from pillsnap.prediction import load as loading
    from pillsnap.prediction import pairs, thresholds
    from pillsnap.prediction import predict as prediction

    form = prediction.form_of(as_json, csv)
    refusal = thresholds.asked(refuse_more, refuse_less, known_recall)
    prediction.check_annotate_dir(annotate)
    paths = prediction.expand(images)
    prediction.check_exist(paths)
    pairs.check(pair, paths, annotate)
    allowed = None if codes is None else prediction.read_codes(codes)
    loaded = loading.load(backend, model, device, imprint=imprint, refusal=refusal)
    prediction.check_codes(codes, allowed or (), loaded)
    if single:
        loaded = loading.for_single(loaded)
    if pair:
        raise typer.Exit(pairs.print_pair(loaded, paths, top, allowed, form))
    raise typer.Exit(prediction.predict(loaded, paths, top, allowed, annotate, form))


@app.command()
def check(
    images: Annotated[list[str], typer.Argument(help="Photos of the pills, each pill once.")],
    prescription: Annotated[Path, typer.Option(help="CSV: K-code or EDI code, count.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    annotate: Annotated[Path | None, typer.Option(help="Folder for pictures with boxes.")] = None,
    log: Annotated[Path | None, typer.Option(help="File that the check is appended to.")] = None,
    confirm: Annotated[
        str | None, typer.Option(help="Who confirms the verdict, in the log.")
    ] = None,
    correct: Annotated[str | None, typer.Option(help="Who overrules it, in the log.")] = None,
    refuse_more: RefuseMore = False,
    refuse_less: RefuseLess = False,
    known_recall: KnownRecall = None,
    imprint: Imprint = None,
    device: Device = "auto",
    backend: Backend = "torch",
    model: Model = None,
) -> None:
    """Compare photos with a prescription; exit 0 if all is right, 3 otherwise."""
    from pillsnap.prediction import load as loading
    from pillsnap.prediction import predict as prediction
    from pillsnap.prediction import prescription as prescriptions
    from pillsnap.prediction import thresholds
    from pillsnap.prediction.check_log import Log

    logged = Log.of(log, confirm, correct)
    refusal = thresholds.asked(refuse_more, refuse_less, known_recall)
    prediction.check_annotate_dir(annotate)
    paths, counts = prediction.expand(images), prescriptions.read(prescription)
    prediction.check_exist(paths)
    loaded = loading.load(backend, model, device, imprint=imprint, refusal=refusal)
    items = prescriptions.items_of(counts, loaded.recogniser.classes)
    answers = list(prediction.recognise(loaded, paths, 5, None, annotate))
    report = prescriptions.compare(items, answers)
    if logged is not None:
        logged.add(paths, prescription, report, loaded.recogniser.calibration)
    text = prescriptions.as_json(report) if as_json else prescriptions.as_text(report, answers)
    typer.echo(text)
    raise typer.Exit(prescriptions.ALL_RIGHT if report.all_right else prescriptions.NOT_ALL_RIGHT)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Beyond loopback, set PILLSNAP_API_KEY.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8080,
    device: Device = "auto",
    backend: Backend = "torch",
    model: Model = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per batch.")] = 8,
    queue: Annotated[int, typer.Option(min=1, help="Requests in progress before 429.")] = 32,
    request_mb: Annotated[int, typer.Option(min=1, help="Largest request accepted.")] = 32,
    pictures: Annotated[int, typer.Option(min=1, help="Most pictures per request.")] = 8,
    imprint: Annotated[bool, typer.Option("--imprint", help="Read imprints too.")] = False,
    refuse_more: RefuseMore = False,
    refuse_less: RefuseLess = False,
    known_recall: KnownRecall = None,
    allow_host: AllowHost = None,
) -> None:
    """Recognise pills over HTTP, with an upload page."""
    from pillsnap.prediction import thresholds
    from pillsnap.service import command
    from pillsnap.service.requests import Limits

    limits = Limits(batch_size, queue, request_mb * 10**6, pictures)
    refusal = thresholds.asked(refuse_more, refuse_less, known_recall)
    models = device, backend, model
    command.serve(host, port, *models, limits, imprint, allow_host or (), refusal)


@app.command()
def enroll(
    code: Annotated[str | None, typer.Argument(help="K-code of the new drug.")] = None,
    images: Annotated[list[Path] | None, typer.Argument(help="Photos, one pill each.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", help="A folder of photos for each K-code instead.")
    ] = None,
    name: Annotated[str, typer.Option(help="Drug name.")] = "",
    edi: Annotated[list[str] | None, typer.Option(help="EDI code; repeatable.")] = None,
    single: Single = False,
    twin: Annotated[bool, typer.Option("--twin", help="Accept a look-alike drug.")] = False,
    device: Device = "auto",
) -> None:
    """Add a drug from a few photos, or all drugs of a folder, without training."""
    if (folder is None) != bool(code and images) or (folder and (name or edi)):
        fact = "enroll takes a K-code with its photos, or --from with a folder alone."
        raise UsageError(fact, "Give a K-code and photos, or only --from FOLDER.")
    from pillsnap.prediction import enrol_command
    from pillsnap.prediction.gallery import Entry

    if folder is not None:
        printed, exit_code = enrol_command.enroll_folder(folder, single, twin, device)
        typer.echo(printed)
        raise typer.Exit(exit_code)
    drug = Entry(str(code), name, tuple(edi or ()), ())
    typer.echo(enrol_command.enroll(drug, images or (), single, twin, device))


@app.command()
def unenroll(code: Annotated[str, typer.Argument(help="K-code of an enrolled drug.")]) -> None:
    """Remove an enrolled drug."""
    from pillsnap.prediction import enrol_command

    typer.echo(enrol_command.unenroll(code))


@gallery_app.command("list")
def gallery_list() -> None:
    """List the enrolled drugs."""
    from pillsnap.prediction import enrol_command

    typer.echo(enrol_command.listing())


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="Folder of the bundle.")] = None,
) -> None:
    """Write a release bundle: ONNX and timm models, class table, thresholds, checksums."""
    from pillsnap.places import Places
    from pillsnap.prediction import gallery
    from pillsnap.prediction import load as loading
    from pillsnap.release.bundle import check_out

    params = load()
    places = Places.of(params)
    folder, drugs = out or loading.bundle_dir_of(params), gallery.path_of(params.scale)
    check_out(folder)
    loading.check_checkpoints(places)
    from pillsnap.release import export as exporting  # imports torch

    exporting.export(
        places,
        folder,
        params.evaluate.batch_size,
        params.validate_.max_pixels,
        drugs if os.path.lexists(drugs) else None,
    )
    typer.echo(f"Wrote {folder}. Use: pillsnap predict --backend onnx --model {folder} IMAGE...")


@app.command("export-data")
def export_data(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    form: Annotated[
        str,
        typer.Option("--format", help="imagefolder, hf, yolo, coco, label-studio or fiftyone."),
    ],
    most: Annotated[int, typer.Option(min=1, help="Frames with predictions, worst first.")] = 200,
) -> None:
    """Write training pictures, or the worst frames with predictions, for other tools."""
    from pillsnap.interchange import command
    from pillsnap.places import Places

    typer.echo(command.export(form, Places.of(load()), out, most))


@app.command()
def review(
    out: Annotated[
        Path | None, typer.Option(help="HTML file; artifacts/<scale>/review.html.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Suspects on the sheet.")] = 400,
    imprint: Annotated[bool, typer.Option("--imprint", help="Read imprints too.")] = False,
    device: Device = "auto",
    apply: Annotated[
        Path | None, typer.Option("--apply", help="Add the answers of a sheet (CSV).")
    ] = None,
    edited: Annotated[
        Path | None, typer.Option("--from", help="Add edits of an exported JSON file.")
    ] = None,
) -> None:
    """Write a sheet of suspicious labels, or add its answers to data/corrections."""
    from pillsnap.review import command

    params = load()
    if apply is not None:
        typer.echo(command.take_answers(params, apply))
    if edited is not None:
        typer.echo(command.take_export(params, edited))
    if apply is None and edited is None:
        typer.echo(command.write(params, out, count, imprint, device))


def verify_bundle(folder: Path) -> int:
    """Print the damaged, missing and added files of a release bundle; 1 if there are any."""
    from pillsnap.release.bundle import AGAIN, Bundle

    damages = Bundle(folder).verify()
    for damage in damages:
        typer.echo(f"{damage}\n  -> {AGAIN}")
    typer.echo(f"{folder}: {len(damages)} damaged")
    return 1 if damages else 0


@app.command("evaluate-folder")
def evaluate_folder(
    folder: Annotated[Path, typer.Argument(help="Photos by K-code, or with labels.")],
    device: Device = "auto",
    backend: Backend = "torch",
    model: Model = None,
) -> None:
    """Evaluate the models on your own photos; the difference to the data set's metrics."""
    from pillsnap.prediction import load as loading
    from pillsnap.prediction import predict as prediction

    folder = prediction.folder(folder)
    loading.check(backend, model, device)  # before the import of scikit-learn
    from pillsnap.own_photos import by_folder

    typer.echo(by_folder.run(folder, device, backend, model))
