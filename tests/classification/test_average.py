"""The moving average: bit for bit that of timm's ModelEmaV3."""

import pytest
import torch
from timm.utils import ModelEmaV3

from pillsnap.classification import classifier
from pillsnap.classification.average import Average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.998])
@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit"])
def test_the_average_is_timms_also_of_what_was_loaded(name, decay):
    model = classifier.build(name, 4, None, 0)
    average, reference = Average(model, decay), ModelEmaV3(model, decay=decay, use_warmup=True)
    size = model.pretrained_cfg["input_size"][1]
    for step in range(6):
        with torch.no_grad():
            model(torch.randn(2, 3, size, size))  # batch norms count and average
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step)
        reference.update(model, step=step)
        expected = reference.module.state_dict()
        found = average.module.state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    for seed, loaded in enumerate((average.module, model), start=1):
        loaded.load_state_dict(classifier.build(name, 4, None, seed).state_dict())
    average.update(0)  # without averaging
    found, expected = average.module.state_dict(), model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
