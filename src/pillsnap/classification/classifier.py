"""The classifier: a timm model that predicts the class of a crop, and an embedding of it."""

from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
import torch.nn.functional as F
from timm.data import resolve_model_data_config
from torch import nn

from pillsnap.arrays import Floats32, Pixels
from pillsnap.classification.augment import to_input
from pillsnap.errors import CheckpointError, MachineError, ParameterError, reason_of
from pillsnap.params.paths import located
from pillsnap.training import checkpoints, configs

Weights = dict[str, torch.Tensor]
SAFETENSORS_HASH = "sha256"  # of the weights, in the metadata of a .safetensors that we export


def build(
    name: str, classes: int, weights: str | None, seed: int, drop_path: float = 0.0
) -> nn.Module:
    """A timm model with `classes` outputs; weights: None from scratch, "hub", or a path.

    `drop_path` is the largest share of residual branches that a training step skips (stochastic
    depth, arXiv 1603.09382).
    """
    torch.manual_seed(seed)
    if not timm.is_model(name.split(".")[0]):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5]) or "timm.list_models()"
        raise ParameterError(f"timm knows no model {name!r}.", f"Near names: {near}")
    options = {"drop_path_rate": drop_path} if drop_path else {}  # not every model takes it
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=weights == "hub", num_classes=classes, **options
        )
    except Exception as error:
        if options and isinstance(error, TypeError):
            fact = f"{name} has no residual branches to skip, but drop_path is {drop_path:g}."
            raise ParameterError(fact, "Set scales.<scale>.drop_path to 0.0.") from None
        if weights != "hub":
            raise
        raise MachineError(
            f"The pretrained weights of {name} could not be fetched: {reason_of(error)}",
            "Fetch them where there is a network and set scales.<scale>.classifier_weights "
            "to the path of the .safetensors; null trains from scratch.",
        ) from None
    if weights not in (None, "hub"):
        load_weights(model, located(str(weights), CheckpointError))
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a .safetensors, state_dict or PillSnap checkpoint; only the head may differ. What
    PillSnap wrote is checked by the hash inside."""
    if not path.is_file():
        raise CheckpointError(
            f"Weights {path} are missing.", "Check scales.<scale>.classifier_weights."
        )
    own, classifier = model.state_dict(), model.get_classifier()  # type: ignore[operator]
    try:
        weights = _renamed(_weights_of(path), own)
        head = {name for name in own if own[name].shape != weights.get(name, own[name]).shape}
    except CheckpointError:
        raise
    except Exception as error:  # a foreign or damaged file fails in many ways: one refusal
        raise CheckpointError(
            f"{path} is not a file of weights: {reason_of(error)}",
            "Give a .safetensors, a state_dict or a PillSnap checkpoint.",
        ) from None
    result = model.load_state_dict(
        {k: v for k, v in weights.items() if k not in head}, strict=False
    )
    prefix = next(name for name, module in model.named_modules() if module is classifier)
    head_names = {f"{prefix}.weight", f"{prefix}.bias"}
    wrong = sorted((set(result.missing_keys) | head) - head_names) + sorted(result.unexpected_keys)
    if wrong:
        raise CheckpointError(
            f"{path} holds weights of another model: {len(wrong)} tensors differ, as {wrong[0]}.",
            "Choose the model it was trained with: scales.<scale>.classifier.",
        )


def input_statistics(model: nn.Module) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the input, per RGB channel in 0..1."""
    config = resolve_model_data_config(model)
    return list(config["mean"]), list(config["std"])


def embed(model: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [n, classes] and L2-normalised features before the head [n, d]."""
    features = model.forward_head(model.forward_features(inputs), pre_logits=True)  # type: ignore[operator]
    return model.get_classifier()(features), F.normalize(features.float(), dim=1)  # type: ignore[operator]


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on its device, in channels_last order, which convolutions are fastest in."""
    return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Normaliser(nn.Module):
    """uint8 pictures [n, h, w, 3] -> float32 [n, 3, h, w] in channels_last order."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std


class TorchClassifier:
    """A trained classifier at inference."""

    def __init__(self, model: nn.Module, config: dict[str, Any], device: torch.device) -> None:
        self.config = config
        self.device = device
        self._model = placed(model, device).eval()
        self._normalise = Normaliser(config["mean"], config["std"]).to(device)

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    @torch.inference_mode()
    def classify(self, crops: Pixels) -> tuple[Floats32, Floats32]:
        """Logits [n, classes] and embeddings [n, d] of crops [n, crop_px, crop_px, 3]."""
        pictures = torch.from_numpy(to_input(crops, self.config["image_px"])).to(self.device)
        logits, embeddings = embed(self._model, self._normalise(pictures))
        return logits.float().cpu().numpy(), embeddings.cpu().numpy()


def load(path: Path, device: torch.device, class_table_hash: str | None) -> TorchClassifier:
    """Load a published checkpoint; refused if it belongs to another class table."""
    weights, config = checkpoints.load_published(path)
    if class_table_hash is not None and config.get("class_table_hash") != class_table_hash:
        raise CheckpointError(
            f"{path} was trained on another class table "
            f"({str(config.get('class_table_hash'))[:12]}, not {class_table_hash[:12]}).",
            "Train it on this one (dvc repro train_classification), or restore its classes.csv.",
        )
    configs.check(config, "classification", path, checkpoints.AGAIN)
    with checkpoints.fitting(path):
        model = timm.create_model(
            config["architecture"], pretrained=False, num_classes=config["classes"]
        )
        model.load_state_dict(weights)
    return TorchClassifier(model, config, device)


def _renamed(weights: Weights, own: Weights) -> Weights:
    """The weights under the model's names where another library gave them other names but the same
    kinds (weight, bias, running_mean ...) and shapes in the same order; the head, last, may differ.
    """

    def kinds(tensors: Weights) -> list[tuple[str, torch.Size]]:
        return [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors.items()][:-2]

    alike = not weights.keys() & own.keys() and kinds(weights) == kinds(own)
    return dict(zip(own, weights.values(), strict=True)) if alike else weights


def _weights_of(path: Path) -> Weights:
    if path.suffix != ".safetensors":
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if "weights" in content:
            return checkpoints.load_published(path)[0]
        for key in ("state_dict_ema", "state_dict", "model"):  # of training scripts, as in timm
            content = content[key] if isinstance(content.get(key), dict) else content
        return {name.removeprefix("module."): tensor for name, tensor in content.items()}
    with safetensors.safe_open(path, "pt") as file:
        weights, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    if (metadata or {}).get(SAFETENSORS_HASH) not in (None, checkpoints.weights_hash(weights)):
        raise CheckpointError(
            f"{path} is damaged: its weights do not match their hash.",
            "Export it again (pillsnap export), or copy it again.",
        )
    return weights
