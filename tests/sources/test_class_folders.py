"""Class folders, in every wrapping, and each way in which an archive can be wrong."""

import gzip
import io
import lzma
import random
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from powtwo.sources import class_folders

SUFFIXES = (".tar", ".tar.gz", ".tar.xz", ".zip")
CLASSES = ("a", "b cat", "Ü")  # sorted
PLAIN = ("", ".tar", ".zip")  # a reader each
Files = dict[str, bytes]


def png(seed: int = 0, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    """Draw a picture of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise).convert(mode), "PNG")


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    """Return what the definition says: (3, 32, 32), red, green, blue."""
    return np.moveaxis(np.array(image.convert("RGB")), 2, 0)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.fixture
def files() -> Files:
    """Three train images of `b cat`, two of `a`, one of `Ü`; one test image each."""
    names = ["train/b cat/1.png", "train/b cat/10.png", "train/b cat/2.png", "train/Ü/9.png"]
    names += ["train/a/x.png", "train/a/Y.png", "test/a/0.png", "test/b cat/0.png", "test/Ü/0.png"]
    return {name: png(seed) for seed, name in enumerate(names)}


def pack(path: Path, files: Files) -> Path:
    """Write files, in an order that is not theirs, to a folder or to an archive by its suffix."""
    names = sorted(files)
    random.Random(3).shuffle(names)
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, files[name])
    elif ".tar" in path.name:
        kind = path.suffix[1:] if path.suffix != ".tar" else ""
        with tarfile.open(path, f"w:{kind}") as archive:
            for name in names:
                add(archive, name, files[name])
    else:
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(files[name])
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **header: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in header.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


def append(path: Path, name: str, content: bytes = b"", **header: object) -> None:
    """Add a member to an archive; one without content is a folder, unless `header` says more."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name if content else f"{name}/", content)
    else:
        with tarfile.open(path, "a") as archive:
            add(archive, name, content, **({} if content else {"type": tarfile.DIRTYPE}) | header)


# What is read


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
@pytest.mark.parametrize("top", ["", "./", "cifar/"])
def test_every_wrapping_gives_the_same_images_sorted_by_path(files, tmp_path, suffix, top):
    path = pack(tmp_path / f"images{suffix}", {top + name: files[name] for name in files})
    split = class_folders.read(path)
    assert split.classes == CLASSES
    assert split.y_train.tolist() == [0, 0, 1, 1, 1, 2]
    assert split.y_test.tolist() == [0, 1, 2]
    train = ["train/a/Y.png", "train/a/x.png"]
    train += ["train/b cat/1.png", "train/b cat/10.png", "train/b cat/2.png", "train/Ü/9.png"]
    assert (split.x_train == np.stack([pixels(opened(files[name])) for name in train])).all()
    tests = ["test/a/0.png", "test/b cat/0.png", "test/Ü/0.png"]
    assert (split.x_test == np.stack([pixels(opened(files[name])) for name in tests])).all()
    assert (split.x_train.dtype, split.y_train.dtype) == (np.uint8, np.int64)
    assert list(tmp_path.iterdir()) == [path]  # nothing was extracted


@pytest.mark.parametrize("suffix", PLAIN)
def test_what_is_no_image_of_a_class_is_passed_over(files, tmp_path, suffix):
    extra = ["README.md", "notes/a/b.txt", "train/list.csv", "train/a/.DS_Store", "train/.x/y"]
    others = dict.fromkeys([*extra, "__MACOSX/train/a/._x.png"], b"text")
    split = class_folders.read(pack(tmp_path / f"images{suffix}", files | others))
    assert (split.classes, len(split.y_train)) == (CLASSES, 6)


def test_a_suffix_may_be_in_capitals(files, tmp_path):
    path = pack(tmp_path / "images.tar", files).rename(tmp_path / "IMAGES.TAR")
    assert class_folders.read(path).classes == CLASSES


PALETTE = opened(png(9)).convert("P")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *((png(9, mode=mode), opened(png(9, mode=mode))) for mode in ("L", "1", "P", "LA", "RGBA")),
        # A palette with transparency, of which Pillow warns.
        (encoded(PALETTE, "PNG", transparency=bytes(range(256))), PALETTE),
        (png(9, (48, 20)), opened(png(9, (48, 20))).resize((32, 32), Image.Resampling.BILINEAR)),
    ],
)
def test_other_modes_become_rgb_and_other_sizes_are_resized(files, tmp_path, content, expected):
    split = class_folders.read(pack(tmp_path / "images.zip", files | {"train/a/x.png": content}))
    assert (split.x_train[0] == pixels(opened(files["train/a/Y.png"]))).all()
    assert (split.x_train[1] == pixels(expected)).all()


# What is refused


def fails(path: Path, message: str) -> None:
    """Check that reading fails in one line that starts with the path and goes on so."""
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{path}: {message}')}.*\Z"):
        class_folders.read(path)


@pytest.mark.parametrize("half", ["train", "test"])
@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_a_class_in_one_half_only_is_refused(files, tmp_path, suffix, half):
    path = pack(tmp_path / f"images{suffix}", files | {f"{half}/zebra/0.png": png()})
    other = {"train": "test", "test": "train"}[half]
    fails(path, f"class 'zebra' has no images in {other}/zebra; add some there, or remove")


@pytest.mark.parametrize("suffix", PLAIN)
def test_a_class_without_any_image_is_refused(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files)
    if path.is_dir():
        (path / "test" / "zebra").mkdir()
    else:
        append(path, "test/zebra")
    fails(path, "class 'zebra' has no images in train/zebra")


@pytest.mark.parametrize("suffix", PLAIN)
def test_other_trees_are_refused(files, tmp_path, suffix):
    train = {name: content for name, content in files.items() if name.startswith("train")}
    fails(pack(tmp_path / f"half{suffix}", train), "class 'a' has no images in test/a")
    other = {name.replace("train", "training").replace("test", "t"): files[name] for name in files}
    rule = "train/<class>/ and test/<class>/; exactly one folder must"
    fails(pack(tmp_path / f"none{suffix}", other), f"nothing holds {rule}")
    two = {f"{top}/{name}": files[name] for name in files for top in "ab"}
    fails(pack(tmp_path / f"two{suffix}", two), f"2 folders hold {rule}")
    deep = files | {"train/a/more/x.png": png()}
    fails(pack(tmp_path / f"deep{suffix}", deep), "train/a/more")


EPS = encoded(Image.new("RGB", (32, 32)), "EPS")  # Pillow would start Ghostscript for it
DEEP = encoded(Image.fromarray(np.full((32, 32), 40_000, dtype=np.uint16)), "PNG")


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify image file"),
        (b"no image", "cannot identify image file"),
        (png()[:-200], ""),
        (EPS, "cannot identify image file"),
        (DEEP, "mode I;16 has more than 8 bits"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(files, tmp_path, suffix, content, reason):
    path = pack(tmp_path / f"images{suffix}", files | {"test/a/bad": content})
    fails(path, f"test/a/bad: no image that can be read ({reason}")


CLIMBING = ["../x.png", "train/../../x.png", "/etc/x.png", "C:/x.png", "train\\..\\..\\x.png"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", [*CLIMBING, "train/a/../../../x.png"])
def test_a_member_that_climbs_out_is_refused(files, tmp_path, suffix, name):
    path = pack(tmp_path / f"images{suffix}", files | {name: png()})
    fails(path, f"{name}: an absolute path, or one with '..', leads out of the archive; ")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(files, tmp_path, kind):
    path = pack(tmp_path / "images.tar", files)
    append(path, "train/a/z.png", type=kind, linkname="/etc/passwd")
    fails(path, "train/a/z.png: a link or device; ")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_file_that_is_there_twice_is_refused(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files)
    append(path, "train/a/x.png", png())
    fails(path, "train/a/x.png: is there twice; remove one")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_archive_is_refused_wherever_it_was_cut(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files)
    whole = path.read_bytes()
    # The blocks of zeros at the end of a plain tar carry nothing, save the first.
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512 if suffix == ".tar" else len(whole)
    step = 512 if suffix == ".tar" else max(1, end // 40)
    for length in [*range(0, end, step), end - 100, end - 1]:
        path.write_bytes(whole[:length])
        fails(path, "truncated or broken (")


def test_a_tar_with_a_broken_header_is_refused(files, tmp_path):
    path = pack(tmp_path / "images.tar", files)
    content = bytearray(path.read_bytes())
    last = max(content.rfind(name.encode()) for name in files)
    content[last] ^= 1
    path.write_bytes(content)
    fails(path, "truncated or broken (bad checksum)")


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_a_damaged_checksum_is_noticed(files, tmp_path, suffix, compress):
    plain = pack(tmp_path / "images.tar", files).read_bytes()
    content = bytearray(compress(plain))
    content[-6 if suffix == "gz" else -40] ^= 255
    path = tmp_path / f"images.tar.{suffix}"
    path.write_bytes(content)
    fails(path, "truncated or broken (")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz", ".zip"])
def test_damage_anywhere_is_an_error_of_one_line(files, tmp_path, suffix):
    image = Image.open(io.BytesIO(png())).resize((400, 300))
    files["train/a/big.bmp"] = encoded(image, "BMP")  # worth compressing
    path = pack(tmp_path / f"images{suffix}", files)
    whole = path.read_bytes()
    for start in range(0, len(whole), len(whole) // 50):
        path.write_bytes(whole[:start] + b"\xff" * 64 + whole[start + 64 :])
        fails(path, "")


def test_an_encrypted_zip_is_refused(files, tmp_path):
    path = pack(tmp_path / "images.zip", files)
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\1\2") + 8] |= 1  # the flag in the directory's first entry
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images.zip: \S+.*: encrypted; pack it without"):
        class_folders.read(path)


@pytest.mark.parametrize("suffix", [".rar", ".tar.bz2", ".gz", ".7z", ".npz"])
def test_another_suffix_is_refused(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(b"x")
    fails(path, "unknown suffix; must be a folder or end in one of .tar, .tar.gz, .tar.xz, .zip")
