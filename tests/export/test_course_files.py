"""weight.bin and input.bin, read by their description alone: struct, and nothing of ours."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from export_cases import dataset, small_network
from hypothesis import given, settings
from networks import networks, random_network

from powtwo.export import course
from powtwo.export.steps import UnsupportedError, steps_of
from powtwo.integer.network import IntegerNetwork


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_weight_bin_is_what_the_course_reads(network: IntegerNetwork) -> None:
    if any(isinstance(layer.weight_exponent, tuple) for layer in network.layers):
        with pytest.raises(UnsupportedError, match=r"weight\.bin: layer 0 has shifts by output"):
            course.tensors(steps_of(network))
        return
    tensors = course.tensors(steps_of(network))
    data, offset, places = course.weights(tensors), 0, []
    for index, layer in enumerate(network.layers):
        if not layer.has_weights:
            continue
        shape = list(layer.weight.shape)
        shape[1] = (shape[1] + 3) // 4 * 4
        count, used = int(np.prod(shape)), layer.weight.shape[1]
        stored = np.array(struct.unpack_from(f"<{count}b", data, offset)).reshape(shape)
        assert np.array_equal(stored[:, :used], layer.weight.numpy())
        assert not stored[:, used:].any()
        places += [(index, "weight", offset, count), (index, "bias", offset + count, 4 * shape[0])]
        offset += count
        folds = network.rounding == "half_up" and layer.output is not None
        half = (1 << int(layer.shift)) >> 1 if folds else 0
        biases = struct.unpack_from(f"<{shape[0]}i", data, offset)
        assert list(biases) == [int(b) + half for b in layer.bias]
        offset += 4 * shape[0]
    assert offset == len(data)
    described = course.describe_weights(tensors, network.rounding)["tensors"]
    assert [(t["layer"], t["tensor"], t["offset"], t["bytes"]) for t in described] == places


@pytest.mark.parametrize(
    ("rounding", "stated", "bias"),
    [
        ("floor", "floor", "as stored"),
        ("half_up", "floor", "2^(shift - 1) is in it: shift with floor"),
        ("half_even", "half_even", "as stored"),
    ],
)
def test_the_manifest_says_how_to_round_and_what_a_tensor_is(
    rounding: str, stated: str, bias: str
) -> None:
    network = random_network(1, rounding)
    described = course.describe_weights(course.tensors(steps_of(network)), network.rounding)
    assert (described["rounding"], described["bias"]) == (stated, bias)
    assert described["tensors"][0] == {
        "bytes": 8 * 4 * 9, "layer": 0, "offset": 0, "shape": (8, 4, 3, 3), "tensor": "weight",
        "type": "int8",
    }  # fmt: skip


def test_input_bin_is_what_the_course_reads() -> None:
    images = dataset(replace(small_network(), classes=("Bär", "b", "c", "d", "e")), per_class=3)
    assert len(np.unique(images.x_test)) == 256  # every byte comes back from its float
    data = course.inputs(course.images_by_class(images, 2), images.classes)
    (classes,) = struct.unpack_from("<I", data)
    offset, names = 4, []
    for _ in range(classes):
        (length,) = struct.unpack_from("<I", data, offset)
        names.append(data[offset + 4 : offset + 4 + length].decode("utf-8"))
        offset += 4 + length
    assert names == list(images.classes)
    assert struct.unpack_from("<II", data, offset) == (2, 3072)
    offset += 8
    assert len(data) == offset + 5 * 2 * 3072 * 4
    for label in range(5):
        for image in images.x_test[images.y_test == label][:2]:
            values = struct.unpack_from("<3072f", data, offset)
            assert min(values) >= 0
            assert max(values) <= 1
            assert [round(255 * value) for value in values] == image.flatten().tolist()
            offset += 3072 * 4


def test_a_class_with_few_images_limits_all_and_one_with_none_is_refused() -> None:
    images = dataset(small_network(), per_class=3)
    few = replace(images, y_test=np.array([0, 1, 2, 3, 4] + [0] * 10))
    chosen = course.images_by_class(few, 5)
    assert chosen.shape == (5, 1, 3, 32, 32)
    described = course.describe_inputs(chosen)
    assert (described["classes"], described["images_a_class"]) == (5, 1)
    assert described["values_an_image"] == 3072
    none = replace(images, y_test=np.zeros(15, np.int64))
    with pytest.raises(UnsupportedError, match=r"input\.bin: class 'b' has no test image"):
        course.images_by_class(none, 1)
