"""Train the detector on frames: artifacts/<scale>/checkpoints/<scale>_detection_best.pt."""

import torch

from pillsnap import checkpoints, detector, devices
from pillsnap.params import Params
from pillsnap.run_log import RunLog
from pillsnap.stage import run

STAGE = "train_detection"
NOT_THE_DETECTORS = {
    "num_workers", "batch_size", "batch_size_cpu", "batch_size_most", "devices",
}  # fmt: skip


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Find every pill in a frame; goes on where an interrupted run of the same work stopped."""
    scale = params.at_scale
    device = devices.choose(params.train.device)
    dtype = devices.autocast_dtype(device, params.train.mixed_precision)
    plan = detector.Plan(
        architecture=scale.detector,
        weights=scale.detector_weights,
        image_px=scale.detection_px,
        epochs=params.train.epochs,
        batch_size=params.train.detection_batch_size,
        lr=params.detection_lr,
        recipe=params.train_detection,
        seed=params.seed,
        device=device,
        bf16=dtype is torch.bfloat16,
        compile=params.train.compile == "on",
        num_workers=devices.loader_workers(params.train.num_workers, device.type == "cuda"),
        goals={"goal/map50": params.targets.detection_map50},
    )
    log.follow_gpu(devices.gpu_uuid(device))
    log.info(f"{scale.detector} at {scale.detection_px} px, on {devices.describe(device)}")
    with checkpoints.WorkFolder(STAGE, checkpoints.fingerprint(STAGE)) as folder:
        live_dir = params.artifacts_dir / "live" / "detection"
        trained = detector.train(plan, params.data_dir / "detection", folder, live_dir, log)
        config = {
            "kind": "detection",
            "architecture": scale.detector,
            "image_px": scale.detection_px,
            "classes": ["pill"],
            "parameters": {
                **params.train.model_dump(exclude=NOT_THE_DETECTORS),
                **params.train_detection.model_dump(),
                "lr": params.detection_lr,
                "seed": params.seed,
            },
            "metrics": trained.metrics,
            "epoch": trained.epoch,
        }
        name = f"{params.scale}_detection_best.pt"
        checkpoints.publish(params.artifacts_dir / "checkpoints" / name, trained.weights, config)
        folder.remove()
    return {"map50": trained.metrics["map50"], "map50_95": trained.metrics["map50_95"]}


if __name__ == "__main__":
    run(STAGE, work)
