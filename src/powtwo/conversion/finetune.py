"""The section `finetune` of a scheme: training on the integer grid, after calibration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from powtwo.core.params import Count, NotNegative, Number, Positive, Section

Share = Annotated[Number, Field(ge=0, le=1)]


class Finetune(Section):
    """How a scheme is fine-tuned; what is not said here is as in the section `train`."""

    epochs: Count
    learning_rate: Positive = 0.02  # highest of the schedule, which rises and falls
    weight_decay: NotNegative = 1e-4  # of weights, per step, times the learning rate
    sparsity: NotNegative = 0.0  # pull of weights to 0, in steps of their codes, as a gradient
    distillation: Share = 0.5  # of the loss: probabilities of the float network, not labels
    refit: Share = 0.7  # of the epochs at whose start observers choose the exponents anew
