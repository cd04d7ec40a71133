"""Train the classifier on crops: artifacts/<scale>/checkpoints/<scale>_classification_best.pt."""

from pillsnap import checkpoints, classifier, devices, manifest, training
from pillsnap.augment import Augmenter
from pillsnap.params import Params
from pillsnap.run_log import RunLog
from pillsnap.stage import run

STAGE = "train_classification"


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Name crops by their class; goes on where an interrupted run of the same work stopped."""
    scale = params.at_scale
    classes_path = params.artifacts_dir / "classes.csv"
    classes = len(manifest.read_classes(classes_path))
    device = devices.choose(params.train.device)
    plan = training.Plan(
        epochs=params.train.epochs,
        repeats=scale.repeats,
        batch_size=params.train.batch_size,
        lr=params.lr,
        recipe=params.train_classification,
        seed=params.seed,
        device=device,
        dtype=devices.autocast_dtype(device, params.train.mixed_precision),
        compile=devices.compiles(device, params.train.compile),
        num_workers=devices.loader_workers(params.train.num_workers),
        goals={"goal/top1": params.targets.classification_top1},
    )
    model = classifier.build(scale.classifier, classes, scale.classifier_weights, params.seed)
    log.follow_gpu(devices.gpu_uuid(device))
    log.info(f"{scale.classifier}, {classes} classes, on {devices.describe(device)}")
    with checkpoints.WorkFolder(STAGE, checkpoints.fingerprint(STAGE)) as folder:
        trained = training.train(
            model,
            plan,
            params.data_dir / "crops",
            Augmenter(scale.image_px, params.train_classification),
            folder,
            params.artifacts_dir / "live" / "classification",
            log,
        )
        mean, std = classifier.input_statistics(model)
        config = {
            "kind": "classification",
            "architecture": scale.classifier,
            "classes": classes,
            "class_table_hash": manifest.class_table_hash(classes_path),
            "image_px": scale.image_px,
            "crop_px": scale.crop_px,
            "crop_margin": params.validate_.crop_margin,
            "mean": mean,
            "std": std,
            "parameters": {
                **params.train.model_dump(exclude={"num_workers", "detection_batch_size"}),
                **params.train_classification.model_dump(),
                "lr": params.lr,
                "seed": params.seed,
            },
            "metrics": trained.metrics,
            "epoch": trained.epoch,
        }
        name = f"{params.scale}_classification_best.pt"
        checkpoints.publish(params.artifacts_dir / "checkpoints" / name, trained.weights, config)
        folder.remove()
    return {"top1": trained.metrics["top1"], "top5": trained.metrics["top5"]}


if __name__ == "__main__":
    run(STAGE, work)
