"""Train the classifier on crops: artifacts/<scale>/checkpoints/<scale>_classification_best.pt."""

from dataclasses import replace

from pillsnap.classification import batch_size, classifier, train
from pillsnap.classification.augment import Augmenter
from pillsnap.classification.trainer import ClassificationPlan
from pillsnap.dataset import manifest
from pillsnap.params import Params
from pillsnap.places import Places
from pillsnap.stage.log import RunLog
from pillsnap.training import launch, session


def work(params: Params, log: RunLog) -> dict[str, float | None]:
    """Train the classifier; an interrupted run with the same inputs is resumed."""
    scale, table = params.at_scale, Places.of(params).classes
    classes = len(manifest.read_classes(table))
    with session.opened("classification", params, log) as here:
        model = classifier.build(
            scale.classifier, classes, scale.classifier_weights, params.seed, scale.drop_path
        )
        mean, std = classifier.input_statistics(model)
        here.announce(f"{scale.classifier}, {classes} classes")
        plan = ClassificationPlan.of(params, here.device, here.ranks)
        size = batch_size.settle(params, model, plan, here.folder.path, log)
        plan = replace(plan, batch_size=size)
        augmenter = Augmenter(scale.image_px, plan.recipe)
        crops_dir = params.data_dir / "crops"
        trained = train.train(model, plan, crops_dir, augmenter, here.folder, here.live_dir, log)
        here.publish(
            plan,
            trained,
            architecture=scale.classifier,
            classes=classes,
            class_table_hash=manifest.class_table_hash(table),
            image_px=scale.image_px,
            crop_px=scale.crop_px,
            crop_margin=params.validate_.crop_margin,
            mean=mean,
            std=std,
        )
    return {name: trained.metrics[name] for name in ("top1", "top5")}


if __name__ == "__main__":
    launch.run("train_classification", work)
