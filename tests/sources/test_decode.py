"""Images as pixels: what is applied, what is told, what is refused."""

import io
import itertools
import re
import struct
import warnings
import zlib
from contextlib import suppress

import numpy as np
import pytest
from image_files import encoded, noise, opened, pixels, png
from PIL import Image, ImageCms, PngImagePlugin

from powtwo.sources.decode import decode

NOISE = np.array(noise(9))  # (32, 32, 3)
SHOWN = {  # by EXIF's orientation, from stored pixels (H, W, C) to upright ones
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
PALETTE = noise(9).convert("P")
ENCODINGS = [
    ("BMP", {}), ("GIF", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}),
    ("PPM", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {}),
    ("WEBP", {"lossless": True}),
]  # fmt: skip


def refuse(content: bytes, reason: str) -> None:
    """Check that an image is refused in one line."""
    with pytest.raises(ValueError, match=rf"^{re.escape(reason)}.*\Z"):
        decode(content)


# What is applied


@pytest.mark.parametrize(
    "content", [png(9, mode=mode) for mode in ("RGB", "L", "1", "P", "LA", "RGBA")]
)
def test_other_modes_become_rgb(content):
    actual, losses = decode(content)
    assert (actual == pixels(opened(content))).all()
    assert (actual.shape, actual.dtype, losses) == ((3, 32, 32), np.uint8, [])


def test_other_sizes_are_resized_and_that_is_told():
    wide = noise(9, (48, 20))
    actual, losses = decode(encoded(wide, "PNG"))
    middle = wide.resize((32, 32), Image.Resampling.BILINEAR, (14, 0, 34, 20))
    assert (actual == pixels(middle)).all()
    assert losses == ["resized to 32×32: the shorter side fits, the center is kept"]


@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(orientation, format_):
    stored, exif = noise(9), Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {}
    plain = np.array(opened(encoded(stored, format_, **options)).convert("RGB"))
    actual, losses = decode(encoded(stored, format_, exif=exif, **options))
    assert (np.moveaxis(actual, 0, 2) == SHOWN[orientation](plain)).all()
    assert losses == []


def test_every_color_of_every_opacity_is_laid_on_black():
    values = np.arange(256, dtype=np.uint8)
    color, alpha = (part.reshape(-1, 32, 32) for part in np.meshgrid(values, values))
    expected = (2 * color.astype(int) * alpha + 255) // 510  # color * alpha / 255 to nearest
    for gray, opacity, shade in zip(color, alpha, expected, strict=True):
        image = Image.fromarray(np.dstack([gray, gray, gray, opacity]), "RGBA")
        assert (decode(encoded(image, "PNG"))[0] == shade).all()


def hidden(mode: str, first: bool) -> tuple[bytes, np.ndarray]:
    """Return a picture with transparency, and what of it shows (32, 32), 0 to 1."""
    image, hole = noise(9).convert(mode), np.zeros((32, 32), bool)
    hole[:8] = first
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.where(hole, 0, 255).astype(np.uint8)))
        return encoded(image, "PNG"), ~hole
    values = np.array(image)  # one color, or index, is the transparent one
    key = values[0, 0] if first else None
    if key is None:
        return encoded(image, "PNG"), ~hole
    same = values == key if values.ndim == 2 else (values == key).all(axis=2)
    key = tuple(map(int, key)) if values.ndim == 3 else int(key)
    return encoded(image, "PNG", transparency=key), ~same


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "LA", "RGBA", "1"])
def test_what_is_transparent_is_black_whatever_hides_there(mode, first):
    content, shows = hidden(mode, first)
    assert shows.all() != first
    expected = pixels(noise(9).convert(mode)) * shows
    assert (decode(content)[0] == expected).all()


def test_a_palette_may_have_an_opacity_for_each_color():
    opacity = np.array([0, 255] * 128, np.uint8)
    content = encoded(PALETTE, "PNG", transparency=opacity.tobytes())
    expected = pixels(PALETTE) * (opacity[np.array(PALETTE)] > 0)
    assert (decode(content)[0] == expected).all()


def test_the_transparent_color_of_a_gif_is_black():
    key = int(np.array(PALETTE)[3, 4])
    actual = decode(encoded(PALETTE, "GIF", transparency=key))[0]
    expected = pixels(opened(encoded(PALETTE, "GIF")))
    assert (actual == expected * (np.array(PALETTE) != key)).all()


# What is told


def several(format_: str) -> bytes:
    options = {"lossless": True} if format_ == "WEBP" else {}
    return encoded(noise(9), format_, save_all=True, append_images=[noise(8)], **options)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_pictures_the_first_counts_and_that_is_told(format_):
    actual, losses = decode(several(format_))
    assert losses == ["several pictures, of which the first counts"]
    first = noise(9) if format_ in ("PNG", "WEBP", "TIFF") else opened(several(format_))
    assert (actual == pixels(first)).all()


def test_cmyk_and_further_channels_are_told():
    cmyk = encoded(noise(9).convert("CMYK"), "JPEG")
    assert decode(cmyk)[1] == ["CMYK, turned to RGB without a color profile"]
    four = encoded(noise(9).convert("RGBX"), "TIFF")  # as of a camera that sees infrared
    actual, losses = decode(four)
    assert (actual == pixels(noise(9))).all()
    assert losses == ["more channels than Pillow reads"]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_color_profile_other_than_srgb_is_told(format_):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace("sRGB".encode("utf-16-be"), "P3  ".encode("utf-16-be"))
    assert decode(encoded(noise(9), format_, icc_profile=srgb))[1] == []
    content = encoded(noise(9), format_, icc_profile=other)
    assert decode(content)[1] == ["a color profile other than sRGB, not applied"]


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        (b"gAMA", (100_000).to_bytes(4, "big"), True),
        (b"gAMA", (45_455).to_bytes(4, "big"), False),
        (b"cICP", bytes([9, 16, 0, 1]), True),  # BT.2020, PQ
        (b"cICP", bytes([1, 13, 0, 1]), False),
        (b"sRGB", bytes([0]), False),
    ],
)
def test_other_colors_of_a_png_are_told(kind, data, told):
    content = encoded(noise(9), "PNG")
    chunk = kind + data
    chunk = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    start = content.index(b"IDAT") - 4
    losses = decode(content[:start] + chunk + content[start:])[1]
    assert losses == ["a color profile other than sRGB, not applied"] * told


def test_a_warning_of_pillow_is_told():
    exif = Image.Exif()
    exif[270] = "a description longer than the four bytes of a tag"
    content = encoded(noise(9), "JPEG", exif=exif)
    damaged = content.replace(b"\x01\x0e\0\x02\0\0\0\x32", b"\x01\x0e\0\x02\0\0\x99\x32")
    assert damaged != content
    actual, losses = decode(damaged)
    assert (actual == pixels(opened(content))).all()
    assert losses == ["Pillow warns: Tag data larger than file. Skipping tag 270"]


# What is refused


def deep_png(color: int, channels: int) -> bytes:
    rows = np.random.default_rng(1).integers(0, 256, (32, 32 * channels * 2), dtype=np.uint8)
    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    buffer.seek(0, io.SEEK_END)
    PngImagePlugin.putchunk(buffer, b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, color, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    PngImagePlugin.putchunk(buffer, b"IDAT", data)
    PngImagePlugin.putchunk(buffer, b"IEND", b"")
    return buffer.getvalue()


def deep_tiff() -> bytes:
    """Write what Pillow can read and not write: 32 by 32 pixels of 16-bit red, green and blue."""
    short, long = 3, 4
    tags = [
        (256, short, 1, 32), (257, short, 1, 32), (258, short, 3, 200), (259, short, 1, 1),
        (262, short, 1, 2), (273, long, 1, 300), (277, short, 1, 3), (278, short, 1, 32),
        (279, long, 1, 32 * 32 * 6),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = (b"II*\0\x08\0\0\0" + directory + bytes(4)).ljust(200, b"\0")
    return (head + struct.pack("<3H", 16, 16, 16)).ljust(300, b"\0") + bytes(32 * 32 * 6)


DEEP = {
    "PNG gray": encoded(Image.fromarray(np.full((32, 32), 40_000, np.uint16)), "PNG"),
    "PNG RGB": deep_png(2, 3),
    "PNG gray and alpha": deep_png(4, 2),
    "PNG RGBA": deep_png(6, 4),
    "TIFF RGB": deep_tiff(),
    "TIFF int32": encoded(Image.fromarray(np.full((32, 32), 7, np.int32)), "TIFF"),
    "TIFF float": encoded(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF"),
    "TIFF gray": encoded(Image.fromarray(np.full((32, 32), 40_000, np.uint16)), "TIFF"),
    "PPM": b"P6 32 32 65535\n" + bytes(32 * 32 * 6),
    "PPM text": b"P3 32 32 256\n" + b"0 " * 32 * 32 * 3,
    "PGM": b"P5 32 32 65535\n" + bytes(32 * 32 * 2),
    "PFM": b"Pf 32 32 -1.0\n" + bytes(32 * 32 * 4),
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_more_than_eight_bits_are_refused(content):
    Image.open(io.BytesIO(content)).load()  # Pillow takes it
    refuse(content, "more than 8 bits a channel")


def test_eight_bits_or_fewer_are_read():
    assert decode(b"P6 32 32 255\n" + NOISE.tobytes())[0].tolist() == pixels(noise(9)).tolist()
    assert decode(b"P5 32 32 3\n" + b"\2" * 1024)[0].tolist() == np.full((3, 32, 32), 170).tolist()
    for format_, mode in itertools.product(("BMP", "TIFF"), ("1", "L", "P", "RGB")):
        image = noise(9).convert(mode)
        assert (decode(encoded(image, format_))[0] == pixels(image)).all()


EPS = encoded(Image.new("RGB", (32, 32)), "EPS")  # Pillow would start Ghostscript for it


@pytest.mark.parametrize("content", [b"", b"no image", EPS])
def test_what_is_no_image_is_refused(content):
    refuse(content, "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP, or damaged")


def test_an_image_that_is_too_large_is_refused_before_it_is_decoded(monkeypatch):
    head = deep_png(2, 3)
    size = struct.pack(">II", 60_000, 60_000)
    body = b"IHDR" + size + head[24:29]
    bomb = head[:12] + body + struct.pack(">I", zlib.crc32(body)) + head[33:]
    refuse(bomb, "Image size (3600000000 pixels) exceeds limit")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1023)  # of which Pillow warns up to twice that
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside of tests
        refuse(png(9), "Image size (1024 pixels) exceeds limit of 1023 pixels")


@pytest.mark.parametrize(("format_", "options"), ENCODINGS)
def test_an_image_cut_anywhere_is_refused_or_whole(format_, options):
    content = encoded(noise(9), format_, **options)
    whole = decode(content)[0]
    for length in [*range(0, len(content), 97), *range(len(content) - 50, len(content))]:
        with suppress(ValueError):
            assert (decode(content[:length])[0] == whole).all(), length


def test_a_png_with_a_flipped_bit_is_refused_or_whole():
    ramp = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint8)
    content = encoded(Image.fromarray(ramp), "PNG")  # little noise, so that most bits decode
    for position, bit in itertools.product(range(len(content)), range(8)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        with suppress(ValueError):
            assert (decode(bytes(damaged))[0] == ramp).all(), (position, bit)
