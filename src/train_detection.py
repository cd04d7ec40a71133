"""Train the detector on frames: artifacts/<scale>/checkpoints/<scale>_detection_best.pt."""

from contextlib import nullcontext

import torch

from pillsnap.detection import plan as detector
from pillsnap.detection import train
from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.training import checkpoints, devices, launch, ranks
from pillsnap.training.ranks import Ranks

STAGE = "train_detection"
NOT_THE_DETECTORS = {"num_workers", "batch_size", "batch_size_cpu", "batch_size_most"}


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Find every pill in a frame; goes on where an interrupted run of the same work stopped."""
    device = devices.choose(params.train.device, ranks.local_rank())
    folder = checkpoints.WorkFolder(STAGE, checkpoints.run_key(STAGE))
    with (
        ranks.joined(params.train.devices, device) as ours,
        folder if ours.is_main else nullcontext(),
    ):
        scale, plan = params.at_scale, _plan(params, device, ours)
        log.follow_gpu(devices.gpu_uuid(device))
        where = devices.describe(device, ours.world_size)
        log.info(f"{scale.detector} at {scale.detection_px} px, on {where}")
        live_dir = params.artifacts_dir / "live" / "detection"
        trained = train.train(plan, params.data_dir / "detection", folder, live_dir, log)
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
        if ours.is_main:
            path = params.artifacts_dir / "checkpoints" / f"{params.scale}_detection_best.pt"
            checkpoints.publish(path, trained.weights, config)
            folder.remove()
    return {"map50": trained.metrics["map50"], "map50_95": trained.metrics["map50_95"]}


def _plan(params: Params, device: torch.device, ours: Ranks) -> detector.Plan:
    scale = params.at_scale
    dtype = devices.autocast_dtype(device, params.train.mixed_precision)
    return detector.Plan(
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
        num_workers=devices.loader_workers(
            params.train.num_workers, device.type == "cuda", ranks.on_this_host()
        ),
        goals={"goal/map50": params.targets.detection_map50},
        ranks=ours,
    )


if __name__ == "__main__":
    launch.run(STAGE, work)
