"""Train the classifier on crops: artifacts/<scale>/checkpoints/<scale>_classification_best.pt."""

from contextlib import nullcontext
from dataclasses import replace

from pillsnap.classification import batch_size, classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.dataset import manifest
from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints, devices, launch, ranks

STAGE = "train_classification"


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Name crops by their class; goes on where an interrupted run of the same work stopped."""
    device = devices.choose(params.train.device, ranks.local_rank())
    folder = checkpoints.WorkFolder(STAGE, checkpoints.run_key(STAGE))
    with (
        ranks.joined(params.train.devices, device) as ours,
        folder if ours.is_main else nullcontext(),
    ):
        scale, classes_path = params.at_scale, params.artifacts_dir / "classes.csv"
        classes = len(manifest.read_classes(classes_path))
        model = classifier.build(scale.classifier, classes, scale.classifier_weights, params.seed)
        mean, std = classifier.input_statistics(model)
        log.follow_gpu(devices.gpu_uuid(device))
        where = devices.describe(device, ours.world_size)
        log.info(f"{scale.classifier}, {classes} classes, on {where}")
        plan = train.Plan.of(params, device, ours)
        size = batch_size.settle(params, model, plan, folder.path, log)
        plan = replace(plan, batch_size=size)
        augmenter = Augmenter(scale.image_px, params.train_classification)
        live_dir = params.artifacts_dir / "live" / "classification"
        trained = train.train(
            model, plan, params.data_dir / "crops", augmenter, folder, live_dir, log
        )
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
                "batch_size": plan.batch_size,
                "lr": params.lr,
                "seed": params.seed,
            },
            "metrics": trained.metrics,
            "epoch": trained.epoch,
        }
        if ours.is_main:
            path = params.artifacts_dir / "checkpoints" / f"{params.scale}_classification_best.pt"
            checkpoints.publish(path, trained.weights, config)
            folder.remove()
    return {"top1": trained.metrics["top1"], "top5": trained.metrics["top5"]}


if __name__ == "__main__":
    launch.run(STAGE, work)
