"""What a step of a fine-tuning does that one of a training does not."""

from __future__ import annotations

import pytest
import torch
import training_runs
from small_vgg import CHECKPOINT, IMAGES, calibration, options_of

from powtwo.conversion.finetune import Finetune
from powtwo.conversion.scheme import Scheme
from powtwo.finetuning.loop import CLIP_NORM, Distillation, recipe_of
from powtwo.finetuning.network import GridNetwork
from powtwo.network import folded
from powtwo.training.processes import SINGLE_PROCESS

SCHEME = options_of(activations={"zero_point": 0})
CALIBRATED = calibration(SCHEME)
X = CHECKPOINT.normalization(IMAGES[:6])
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def trainer(scheme: Scheme = SCHEME, **options: object) -> Distillation:
    finetune = Finetune.model_validate({"epochs": 3} | options)
    recipe = recipe_of(training_runs.recipe(label_smoothing=0.1, precision="float32"), finetune)
    calibrated = CALIBRATED if scheme is SCHEME else calibration(scheme)
    network = GridNetwork(calibrated, scheme)
    return Distillation(network, recipe, SINGLE_PROCESS, calibrated.folded, finetune)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_loss_is_a_share_of_the_float_networks_and_the_rest_of_the_labels(share: float) -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    taught = folded.logits(CALIBRATED.folded, X.double()).softmax(1)
    log_q = logits.double().log_softmax(1)
    hard = -(0.9 * log_q[range(6), LABELS] + 0.1 * log_q.mean(1)).mean()
    soft = -(taught * log_q).sum(1).mean()
    loss = trainer(distillation=share)._loss(X, logits, LABELS)
    assert loss.item() == pytest.approx(((1 - share) * hard + share * soft).item(), rel=1e-5)


def test_gradients_are_clipped_and_then_pulled_to_0() -> None:
    norms = []
    for sparsity in (0.0, 3.0):
        tuned = trainer(sparsity=sparsity)
        for parameter in tuned.network.parameters():
            parameter.grad = torch.full_like(parameter, 100.0)
        plain = [layer.weight.grad.clone() for layer in tuned.network.weighted]
        tuned._before_update()
        gradients = [parameter.grad.flatten() for parameter in tuned.network.parameters()]
        norms.append(torch.cat(gradients).norm().item())
        whole = sum(p.numel() for p in tuned.network.parameters()) ** 0.5 * 100
        for layer, before in zip(tuned.network.weighted, plain, strict=True):
            pull = sparsity * layer.weight.sign() / layer.weight_inverse
            expected = before * (CLIP_NORM / whole) + pull
            assert torch.allclose(layer.weight.grad, expected, rtol=1e-4)
    assert norms[0] == pytest.approx(CLIP_NORM, rel=1e-4)
    assert norms[1] > CLIP_NORM + 1


def test_a_step_shrinks_weights_that_few_bits_would_not_hold() -> None:
    scheme = options_of(
        activations={"zero_point": 0, "bits": 4},
        accumulator={"bits": 12},
        layers={"first": {"accumulator": 32}},
    )
    tuned = trainer(scheme)
    first, second, *_ = tuned.network.weighted
    with torch.no_grad():
        for parameter in tuned.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        second.bias.zero_()
        for layer in (first, second):
            layer.weight.fill_(2.0 / layer.weight_inverse.item())
    tuned._before_update()
    assert (first.weight * first.weight_inverse == 2.0).all()  # its accumulators have 32 bits
    sums = (second.weight * second.weight_inverse).flatten(1).sum(1)  # of 72 weights
    limit = (2047 - int(0.5 / second.scale)) // 15
    assert 1 < limit < 144
    assert torch.allclose(sums, torch.full_like(sums, limit))


def test_the_recipe_is_that_of_the_float_network_but_for_the_schedule() -> None:
    train = training_runs.recipe(
        optimizer="adam", nesterov=False, average=0.9, patience=3, decay="all"
    )
    found = recipe_of(train, Finetune(epochs=7, learning_rate=0.5, weight_decay=0.25))
    changed = {
        "epochs": 7, "optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.5,
        "schedule": "one_cycle", "warmup": 0.04, "final_learning_rate": 0.0, "weight_decay": 0.25,
        "decay": "weights", "average": 0.0, "patience": 0,
    }  # fmt: skip
    assert found.model_dump() == train.model_dump() | changed
