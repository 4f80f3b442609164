"""Operations that others say as well: each rewrite takes a network and returns an equal one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from powtwo.network.reading.joining import with_joined_convolutions
from powtwo.network.reading.operations import SAME, Operation, Operations
from powtwo.network.spec import WINDOWS

WEIGHTED = ("conv2d", "linear", "batch_norm")


def rewritten(network: Operations) -> Operations:
    """Return a network without what no layer of ours says."""
    rewrites: list[Callable[[Operations], Operations]] = [
        without_identities, without_unread, with_single_reshapes, with_padded_windows,
        with_biases, with_joined_convolutions, without_unread,
    ]  # fmt: skip
    for rewrite in rewrites:
        network = rewrite(network)
    return network


def split_softmax(network: Operations) -> tuple[Operations, Operation | None]:
    """Return the network up to its logits, and the softmax after them if there is one."""
    last = network.makers().get(network.output)
    if last is None or last.kind != "softmax":
        return network, None
    last.require(last.options["axis"] in (1, -1), "is not over the classes", "use axis 1")
    return without_unread(replace(network, output=last.inputs[0])), last


def without_identities(network: Operations) -> Operations:
    """Leave out what changes nothing."""
    same: dict[str, str] = {}
    steps = []
    for step in network.steps:
        inputs = tuple(same.get(name, name) for name in step.inputs)
        if step.kind == "identity" or (step.kind == "dropout" and not step.options["probability"]):
            same[step.output] = inputs[0]
        else:
            steps.append(replace(step, inputs=inputs))
    return Operations(network.input, same.get(network.output, network.output), tuple(steps))


def without_unread(network: Operations) -> Operations:
    """Leave out what the output does not need."""
    needed, kept = {network.output}, []
    for step in reversed(network.steps):
        if step.output in needed:
            needed |= set(step.inputs)
            kept.append(step)
    return replace(network, steps=tuple(reversed(kept)))


def with_single_reshapes(network: Operations) -> Operations:
    """Have each reshape of a reshape read what that one reads."""
    makers = network.makers()
    steps = []
    for step in network.steps:
        before = makers.get(step.inputs[0])
        while step.kind == "reshape" and before is not None and before.kind == "reshape":
            step = replace(step, inputs=before.inputs)  # noqa: PLW2901
            before = makers.get(step.inputs[0])
        steps.append(step)
    return without_unread(replace(network, steps=tuple(steps)))


def with_padded_windows(network: Operations) -> Operations:
    """Have windows pad with zeros what a pad before them does."""
    makers = network.makers()
    steps = []
    for step in network.steps:
        before = makers.get(step.inputs[0])
        if step.kind in WINDOWS and before is not None and before.kind == "pad":
            _require_zeros_fit(step, before, makers.get(before.inputs[0]))
            sides = zip(step.options["padding"], before.options["padding"], strict=True)
            options = {**step.options, "padding": tuple(map(sum, sides)), "counts_padding": True}
            step = replace(step, inputs=before.inputs, options=options)  # noqa: PLW2901
            makers[step.output] = step
        steps.append(step)
    return without_unread(replace(network, steps=tuple(steps)))


def _require_zeros_fit(step: Operation, pad: Operation, source: Operation | None) -> None:
    """Refuse a pad that the window's own padding does not equal."""
    remedy = "give the padding to the layer itself"
    padding = step.options["padding"]
    step.require(
        not step.options.get("ceil"), f"rounds up the size of what {pad.name} padded", remedy
    )
    step.require(padding not in SAME, f"pads again what {pad.name} padded", remedy)
    if step.kind == "maxpool2d":  # pads with -inf, which 0 equals where nothing is below
        positive = source is not None and source.kind in ("relu", "relu6") and not any(padding)
        step.require(positive, f"reads the zeros of {pad.name}", f"{remedy}, or put ReLU before it")
    if step.kind == "avgpool2d":
        counted = step.options["counts_padding"] or not any(padding)
        step.require(counted, f"pads again what {pad.name} padded", remedy)


def with_biases(network: Operations) -> Operations:
    """Add constants of channels to the biases of the layers that give these."""
    readers, makers = network.readers(), network.makers()
    steps: dict[str, Operation] = {}
    moved: dict[str, str] = {}
    for step in network.steps:
        inputs = tuple(moved.get(name, name) for name in step.inputs)
        if step.kind != "bias":
            steps[step.output] = replace(step, inputs=inputs)
            continue
        before = makers.get(step.inputs[0])
        alone = before is not None and len(readers[before.output]) == 1
        takes = before is not None and alone and (before.kind in (*WEIGHTED, "bias"))
        step.require(takes, "adds a constant", "add it after a convolution, linear or batch norm")
        steps[inputs[0]] = _with_bias(steps[inputs[0]], step)
        moved[step.output] = inputs[0]
    output = moved.get(network.output, network.output)
    return Operations(network.input, output, tuple(steps.values()))


def _with_bias(step: Operation, added: Operation) -> Operation:
    """Return a layer whose bias has a constant added."""
    constant, channels = added.tensors["bias"], _channels(step)
    axis = 1 if step.kind == "linear" else 3  # of channels, counted from the last
    shape = (*([1] * 4), *constant.shape)[-4:]
    rule = f"adds a constant of shape {tuple(constant.shape)} to {channels} channels"
    fits = shape[4 - axis] in (1, channels) and constant.numel() == shape[4 - axis]
    added.require(fits, rule, "add one number for each channel")
    bias = constant.reshape(-1).expand(channels)
    if "bias" in step.tensors:
        bias = bias + step.tensors["bias"]
    return replace(step, tensors={**step.tensors, "bias": bias.contiguous()})


def _channels(step: Operation) -> int:
    return len(step.tensors["running_mean" if step.kind == "batch_norm" else "weight"])
