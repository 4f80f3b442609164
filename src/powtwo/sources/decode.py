"""One encoded image as pixels of the network's input: red, green, blue, or gray; 8 bits each.

Orientation is applied, transparent pixels are laid on black, other sizes are resized, see `form`.
Color profiles are not applied.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLESPERPIXEL

from powtwo.dataset.images import Images
from powtwo.sources import form as forms
from powtwo.sources.form import DEFAULT, Form

# Plain raster formats: some of Pillow's others start programs or read further files.
_PNG = b"\x89PNG\r\n\x1a\n"
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def decode(content: bytes, form: Form = DEFAULT) -> tuple[Images, list[str]]:
    """Return an image (C, H, W), and a line for each thing in the file that it does not show.

    Raises:
        ValueError: where it is damaged, of another format, of more than 8 bits a channel, or so
            large that Pillow takes it for an attack.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.format == "PNG":
                    _check_sums(content)
                losses = list(_losses(image))
                if image.format == "PNG" and _has_other_colors(content):
                    losses.append("a color profile other than sRGB, not applied")
                shown = _on_black(image)
                if shown.size != form.size:
                    losses.append(form.told)
                pixels = forms.pixels(shown, form)
    except UnidentifiedImageError:
        raise ValueError(f"none of {', '.join(FORMATS)}, or damaged") from None
    except Exception as error:  # Pillow's readers raise errors of a dozen kinds
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return pixels, losses + [f"Pillow warns: {warning.message}" for warning in caught]


def _check_sums(content: bytes) -> None:
    """Compare a PNG's chunks with their sums, as decoding does not; other formats have none."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        image.verify()


def _has_other_colors(content: bytes) -> bool:
    """Tell whether a PNG's chunks say other colors than sRGB's, where it has no profile."""
    chunks: dict[bytes, bytes] = {}
    start = len(_PNG)
    while start < len(content) and b"IDAT" not in chunks:
        size, kind = struct.unpack(">I4s", content[start : start + 8])
        chunks[kind] = content[start + 8 : start + 8 + size]
        start += size + 12
    if b"cICP" in chunks:  # primaries of BT.709, the curve of sRGB
        return chunks[b"cICP"][:2] != bytes([1, 13])
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return False
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big")
    return gamma not in {0, 45455}  # of sRGB, 1/2.2


def _losses(image: ImageFile) -> Iterator[str]:
    if _bits(image) > 8:
        raise ValueError("more than 8 bits a channel")
    if getattr(image, "is_animated", False):
        yield "several pictures, of which the first counts"
    if image.mode == "CMYK":
        yield "CMYK, turned to RGB without a color profile"
    if _tag(image, SAMPLESPERPIXEL, 1) > len(image.getbands()):
        yield "more channels than Pillow reads"
    profile = image.info.get("icc_profile", b"sRGB").replace(b"\0", b"")  # its text may be UTF-16
    if b"sRGB" not in profile:
        yield "a color profile other than sRGB, not applied"


def _bits(image: ImageFile) -> int:
    """Return the bits of a channel in the file; of some formats, Pillow gives the upper 8 alone."""
    if image.mode[0] in "IF":
        return 16  # or more
    if image.format == "PNG":
        return 16 if ";16" in str(image.tile) else 8
    if image.format == "PPM" and isinstance(image.tile[0].args, tuple):  # raw mode, largest value
        return int(image.tile[0].args[1]).bit_length()
    return int(max(_tag(image, BITSPERSAMPLE, (8,))))


def _tag(image: ImageFile, tag: int, default: Any) -> Any:
    """Return a tag of a TIFF; the default for other formats."""
    return getattr(image, "tag_v2", {}).get(tag, default)


def _on_black(image: Image.Image) -> Image.Image:
    """Turn an image the way that it is shown, with black where it is transparent."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image.convert("RGB")
