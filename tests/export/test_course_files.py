"""weight.bin and input.bin, read by their description alone: struct, and nothing of ours."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from export_cases import STANDARD, dataset, small_network
from hypothesis import given, settings
from networks import networks, random_network

from powtwo.export import course
from powtwo.export.steps import UnsupportedError, steps_of
from powtwo.integer.layer import ActivationQParams
from powtwo.integer.network import Input, IntegerNetwork


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_weight_bin_is_what_the_course_reads(network: IntegerNetwork) -> None:
    if any(isinstance(layer.weight_exponent, tuple) for layer in network.layers):
        with pytest.raises(UnsupportedError, match=r"weight\.bin: layer 0 has shifts by output"):
            course.tensors(steps_of(network))
        return
    data, offset = course.weights(course.tensors(steps_of(network))), 0
    for layer in network.layers:
        if not layer.has_weights:
            continue
        shape = list(layer.weight.shape)
        shape[1] = (shape[1] + 3) // 4 * 4
        count, used = int(np.prod(shape)), layer.weight.shape[1]
        stored = np.array(struct.unpack_from(f"<{count}b", data, offset)).reshape(shape)
        assert np.array_equal(stored[:, :used], layer.weight.numpy())
        assert not stored[:, used:].any()
        offset += count
        folds = network.rounding == "half_up" and layer.output is not None
        half = (1 << int(layer.shift)) >> 1 if folds else 0
        biases = struct.unpack_from(f"<{shape[0]}i", data, offset)
        assert list(biases) == [int(b) + half for b in layer.bias]
        offset += 4 * shape[0]
    assert offset == len(data)


def test_the_manifest_says_where_each_tensor_lies() -> None:
    network = random_network(1, "half_up")
    tensors = course.tensors(steps_of(network))
    data, described = course.weights(tensors), course.describe_weights(tensors, network.rounding)
    assert described["byte_order"] == "little"
    assert described["rounding"] == "floor"
    assert "2^(shift - 1) is in it" in described["bias"]
    assert described["tensors"][0] == {
        "bytes": 8 * 4 * 9, "layer": 0, "offset": 0, "shape": (8, 4, 3, 3), "tensor": "weight",
        "type": "int8",
    }  # fmt: skip
    last = described["tensors"][-1]
    assert last["offset"] + last["bytes"] == len(data)
    place = next(t for t in described["tensors"] if (t["layer"], t["tensor"]) == (2, "weight"))
    stored = np.frombuffer(data, np.int8, place["bytes"], place["offset"]).reshape(place["shape"])
    assert np.array_equal(stored, network.layers[2].weight.numpy())
    floor = replace(network, rounding="floor").rounding
    assert course.describe_weights(tensors, floor)["bias"] == "as stored"


def test_input_bin_is_what_the_course_reads() -> None:
    images = dataset(replace(small_network(), classes=("Bär", "b", "c", "d", "e")), per_class=3)
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


def test_every_byte_comes_back_from_its_float() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    values = pixels.astype(np.float32) / np.float32(255)
    assert np.array_equal(np.rint(255 * values), pixels)
    assert np.array_equal([round(255 * float(value)) for value in values], pixels)


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


def test_a_standard_image_becomes_codes_by_the_table() -> None:
    table = Input((3, 32, 32), ActivationQParams(-5), STANDARD).table()
    assert table.shape == (3, 256)
    for channel, (mean, std) in enumerate(zip(STANDARD.mean, STANDARD.std, strict=True)):
        expected = [min(max(round(32 * (p / 255 - mean) / std) + 128, 0), 255) for p in range(256)]
        assert table[channel].tolist() == expected
    assert random_network(1).input.table() is None
