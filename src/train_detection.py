"""Train the detector on frames: artifacts/<scale>/checkpoints/<scale>_detection_best.pt."""

from pillsnap.detection import train
from pillsnap.detection.plan import DetectionPlan
from pillsnap.params import Params
from pillsnap.stage.log import RunLog
from pillsnap.training import launch, session


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Train the detector; an interrupted run with the same inputs is resumed."""
    with session.opened("detection", params, log) as here:
        plan = DetectionPlan.of(params, here.device, here.ranks)
        here.announce(f"{plan.architecture} at {plan.image_px} px")
        data_dir = params.data_dir / "detection"
        trained = train.train(plan, data_dir, here.folder, here.live_dir, log)
        here.publish(
            plan,
            trained,
            architecture=plan.architecture,
            image_px=plan.image_px,
            classes=["pill"],
        )
    return {name: trained.metrics[name] for name in ("map50", "map50_95")}


if __name__ == "__main__":
    launch.run("train_detection", work)
