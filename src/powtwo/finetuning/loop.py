"""Fine-tuning: a calibrated network and images in, the network of the best epoch out.

The training loop, with four differences: the network computes on the integer grid, the float
network teaches it, exponents are chosen anew while weights still move far, and each epoch is
evaluated by the integer network itself.

Sources:
1. Distillation: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; of a quantized network by its
   own float one: Mishra and Marr 2018, https://arxiv.org/abs/1711.05852
2. Gradients clipped by their norm: Pascanu et al. 2013, https://arxiv.org/abs/1211.5063
3. A penalty on magnitudes makes weights 0: Han et al. 2015, https://arxiv.org/abs/1506.02626
4. Weights that stay near a rounding threshold swing about it, so the end goes on with grids that
   stay: Nagel et al. 2022, https://arxiv.org/abs/2203.11086
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.finetune import Finetune
from powtwo.conversion.layer_config import accumulators
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.images import Dataset, evenly_spaced
from powtwo.engine.choose import make
from powtwo.finetuning.network import GridNetwork
from powtwo.finetuning.refit import refit
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.tiles import product_sums
from powtwo.network import folded
from powtwo.network.folded import FoldedLayer
from powtwo.training.history import Measure
from powtwo.training.loop import TrainingError, TrainingRun
from powtwo.training.params import Train
from powtwo.training.processes import SINGLE_PROCESS, Group
from powtwo.training.trainer import Trainer

CLIP_NORM = 2.0  # of all gradients together; without batch norm a step may else be far too long
WARMUP = 0.04  # fraction of the steps in which the rate rises
REFIT_IMAGES = 128  # training images that observers see, evenly spaced
EVALUATE_BATCH = 250  # images at a time, for memory alone
TOO_FAR = "lower finetune.learning_rate of the scheme, or its weight_decay or sparsity"


def recipe_of(train: Train, finetune: Finetune) -> Train:
    """Return the recipe of a fine-tuning: that of the float network, and what differs."""
    return train.model_copy(
        update={
            "epochs": finetune.epochs,
            "optimizer": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "learning_rate": finetune.learning_rate,
            "schedule": "one_cycle",
            "warmup": WARMUP,
            "final_learning_rate": 0.0,
            "weight_decay": finetune.weight_decay,
            "decay": "weights",
            "average": 0.0,
            "patience": 0,
        }
    )


class FineTuning(TrainingRun):
    """A network on the integer grid in training."""

    def __init__(
        self,
        calibrated: Calibrated,
        scheme: Scheme,
        dataset: Dataset,
        train: Train,
        *,
        seed: int,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        """Begin with what calibration chose; `scheme.finetune` says how to go on."""
        assert scheme.finetune is not None
        # Both refuse what they could not after all.
        check_tiles(to_integer.convert(calibrated, "finetune", scheme).network, scheme, calibrated)
        self._finetune, self._calibrated = scheme.finetune, calibrated
        self.network = GridNetwork(calibrated, scheme)
        normalization = calibrated.input.normalization
        few = evenly_spaced(len(dataset.x_train), REFIT_IMAGES)
        self._refit_images = normalization(torch.from_numpy(dataset.x_train[few]))
        recipe = recipe_of(train, scheme.finetune)
        super().__init__(self.network, dataset, normalization, recipe, seed=seed, group=group)

    def epoch(self) -> None:
        """Choose the exponents again, as long as the scheme says, and train for one epoch."""
        if len(self.history) < self._finetune.refit * self._finetune.epochs:
            refit(self.network, self._refit_images.to(self.trainer.device))
        else:
            self.network.settle()
        try:
            super().epoch()
        except TrainingError as error:
            reason = str(error).partition("; ")[0]  # what to do is another than in the stage train
            raise TrainingError(f"{reason}; {TOO_FAR}") from None

    def _make_trainer(self, network: nn.Module, recipe: Train, group: Group) -> Trainer:
        return Distillation(network, recipe, group, self._calibrated.folded, self._finetune)

    def _measure(self) -> Measure:
        return measure(self.network.convert(), self._x, self._y)


class Distillation(Trainer):
    """Training steps that a float network teaches."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Train,
        group: Group,
        teacher: Sequence[FoldedLayer],
        finetune: Finetune,
    ) -> None:
        super().__init__(network, recipe, group)
        self._teacher = [_at(layer, self.device) for layer in teacher]
        self._share, self._sparsity = finetune.distillation, finetune.sparsity

    def _loss(self, x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Mix the teacher's probabilities and the labels, and compare."""
        loss = super()._loss(x, logits, labels) if self._share < 1 else logits.new_zeros(())
        if self._share == 0:
            return loss
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16),
        ):
            taught = folded.logits(self._teacher, x).float().softmax(1)
        return (1 - self._share) * loss + self._share * F.cross_entropy(logits, taught)

    def _before_update(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        for layer in self.network.weighted:
            if self._sparsity:
                layer.pull_to_zero(self._sparsity)
            layer.shrink()


def check_tiles(network: IntegerNetwork, scheme: Scheme, calibrated: Calibrated) -> None:
    """Refuse tiles that do not hold every product that a weight may come to have.

    Raises:
        ValueError: where conversion may refuse, after training, what it took before.
    """
    for index, accumulator in accumulators(calibrated.folded, scheme).items():
        layer = network.layers[index]
        codes = layer.weight_format.grid.codes[:, None].numpy()
        largest = max(int(each.max()) for each in product_sums(codes, *layer.input_range))
        if accumulator.tiles and largest >= 2 ** (accumulator.bits - 1):
            raise ValueError(
                f"layer {index}: products may come to reach {largest}: a tile of "
                f'{accumulator.bits} bits does not hold one; set layers: "{index}": '
                f"{{accumulator: {largest.bit_length() + 1}}} or wider, or fewer bits of weights"
            )


def _at(layer: FoldedLayer, device: torch.device) -> FoldedLayer:
    """Return a layer in float32 on a device, channels last as the images are."""
    if layer.weight is None or layer.bias is None:
        return layer
    form = torch.channels_last if layer.kind == "conv2d" else torch.contiguous_format
    weight = layer.weight.to(device, torch.float32).contiguous(memory_format=form)
    return replace(layer, weight=weight, bias=layer.bias.to(device, torch.float32))


@torch.inference_mode()
def measure(network: IntegerNetwork, pixels: Tensor, labels: Tensor) -> Measure:
    """Measure an integer network on uint8 images (N, C, H, W) with labels (N,)."""
    logits = make(network).logits(pixels.cpu(), EVALUATE_BATCH)
    last = network.last_sums
    codes = last.output
    exponent = codes.exponent if codes else int(last.accumulator_exponent)
    values = (logits.double() - (codes.zero_point if codes else 0)) * 2.0**exponent
    labels = labels.cpu()
    correct = (logits.to(torch.int32).argmax(1) == labels).double().mean()
    return Measure(F.cross_entropy(values, labels).item(), correct.item())
