"""Class folders, in every wrapping, and each tree that is none."""

import os

import numpy as np
import pytest
from image_files import CLASSES, SUFFIXES, append, encoded, fails, noise, opened, pack, pixels, png
from PIL import Image

from powtwo.sources import class_folders

PLAIN = ("", ".tar", ".zip")  # a reader each


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
def test_what_is_in_no_class_is_left_out_and_told(files, tmp_path, suffix, capsys):
    extra = ["README.md", "notes/a/b.txt", "train/list.csv", "other/a/x.png"]
    path = pack(tmp_path / f"images{suffix}", files | dict.fromkeys(extra, b"text"))
    split = class_folders.read(path)
    assert (split.classes, len(split.y_train)) == (CLASSES, 6)
    start, names = capsys.readouterr().out.split(", left out: ")
    assert start == f"{path}: 4 × not in train/<class>/ or test/<class>/"
    assert names in {f"{name}, ...\n" for name in extra}


SYSTEM = (  # of every kind that images.py of the cases has, and its kin
    "Thumbs.db", "desktop.ini", ".DS_Store", "Icon\r", "._x.png", "x.png:Zone.Identifier",
    "__MACOSX/a/x.png", ".ipynb_checkpoints/x-checkpoint.png", "@eaDir/x.png",
)  # fmt: skip


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_files_of_the_operating_system_do_not_matter(files, tmp_path, suffix, capsys):
    places = ("", "train/", "train/a/", "test/b cat/")
    system = dict.fromkeys((place + name for place in places for name in SYSTEM), b"no image")
    with_them = class_folders.read(pack(tmp_path / f"images{suffix}", files | system))
    without = class_folders.read(pack(tmp_path / "plain", files))
    assert all(np.array_equal(*pair) for pair in zip(with_them, without, strict=True))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "test"), ("train", "TEST")])
@pytest.mark.parametrize("suffix", PLAIN)
def test_the_halves_may_be_in_capitals(files, tmp_path, suffix, names):
    train, test = names
    renamed = {
        name.replace("train/", f"{train}/").replace("test/", f"{test}/"): files[name]
        for name in files
    }
    actual = class_folders.read(pack(tmp_path / f"images{suffix}", renamed))
    expected = class_folders.read(pack(tmp_path / "plain", files))
    assert all(np.array_equal(*pair) for pair in zip(actual, expected, strict=True))


def test_a_name_that_a_terminal_would_obey_is_escaped(files, tmp_path, capsys):
    path = pack(tmp_path / "images", files | {"\x1b[31mred.txt": b""})
    class_folders.read(path)
    assert capsys.readouterr().out.endswith(": \\x1b[31mred.txt\n")


def test_losses_are_counted_in_a_line_each(files, tmp_path, capsys):
    moving = encoded(noise(1), "GIF", save_all=True, append_images=[noise(2)])
    cmyk = encoded(noise(3).convert("CMYK"), "JPEG")
    more = {"train/a/1.gif": moving, "test/a/1.gif": moving, "train/a/1.jpg": cmyk}
    path = pack(tmp_path / "images", files | more)
    class_folders.read(path)
    assert capsys.readouterr().out == (
        f"{path}: 2 × several pictures, of which the first counts: test/a/1.gif, ...\n"
        f"{path}: 1 × CMYK, turned to RGB without a color profile: train/a/1.jpg\n"
    )


def test_a_suffix_may_be_in_capitals(files, tmp_path):
    path = pack(tmp_path / "images.tar", files).rename(tmp_path / "IMAGES.TAR")
    assert class_folders.read(path).classes == CLASSES


# What is refused


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


DEEP = encoded(Image.fromarray(np.full((32, 32), 40_000, dtype=np.uint16)), "PNG")


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "none of BMP, GIF, "),
        (b"no image", "none of BMP, GIF, "),
        (png()[:-200], ""),
        (DEEP, "more than 8 bits a channel"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(files, tmp_path, suffix, content, reason):
    path = pack(tmp_path / f"images{suffix}", files | {"test/a/bad": content})
    fails(path, f"test/a/bad: no image that can be read ({reason}")


@pytest.mark.parametrize("suffix", PLAIN)
@pytest.mark.parametrize("name", ["loose.png", "LOOSE.JPG", "loose.tiff", "loose.webp"])
def test_an_image_in_no_class_is_refused(files, tmp_path, suffix, name):
    path = pack(tmp_path / f"images{suffix}", files | {f"train/{name}": png()})
    fails(path, f"train/{name}: an image in no class; move it into a folder")


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_half_in_two_spellings_is_refused(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files | {"Train/a/more.png": png()})
    fails(path, "Train, test, train: one half twice; move the images together")


@pytest.mark.parametrize("suffix", PLAIN)
def test_fewer_than_two_classes_are_refused(files, tmp_path, suffix):
    one = {name: content for name, content in files.items() if "/a/" in name}
    fails(pack(tmp_path / f"one{suffix}", one), "only class 'a'; there must be at least two")


CONTROL = "its name is not UTF-8, or has control or invisible characters; rename the folder"
INVISIBLE = ("a\u200b", "a\u202eb", "a\u2066b", "\ufeffa")  # no width, or the text turned around


@pytest.mark.parametrize("suffix", ["", ".tar"])
def test_a_class_whose_name_is_not_utf8_is_refused(files, tmp_path, suffix):
    latin = os.fsdecode(b"caf\xe9")
    more = {f"{half}/{latin}/0.png": png() for half in ("train", "test")}
    path = pack(tmp_path / f"images{suffix}", files | more)
    fails(path, r"class 'caf\xe9': " + CONTROL)


ALIKE = "differ in case or Unicode form alone; rename one, or move their images together"


@pytest.mark.parametrize(
    ("name", "rule"),
    [*((name, CONTROL) for name in ("a\nb", "a\tb", "a\x7f", "a\u2028b", *INVISIBLE)),
     *((name, ALIKE) for name in ("A", "B Cat", "U\u0308", "ü"))],
)  # fmt: skip
def test_a_class_whose_name_is_not_told_apart_is_refused(files, tmp_path, name, rule):
    more = {f"{half}/{name}/0.png": png() for half in ("train", "test")}
    with pytest.raises(ValueError, match=rf"{rule}\Z"):
        class_folders.read(pack(tmp_path / "images.tar", files | more))


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_name_may_be_long(files, tmp_path, suffix):
    long = {f"{half}/{'z' * 300}/{'0' * 300}.png": png() for half in ("train", "test")}
    split = class_folders.read(pack(tmp_path / f"images{suffix}", files | long))
    assert split.classes == ("a", "b cat", "z" * 300, "Ü")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_file_that_is_there_twice_is_refused(files, tmp_path, suffix):
    path = pack(tmp_path / f"images{suffix}", files)
    append(path, "train/a/x.png", png())
    fails(path, "train/a/x.png: is there twice; remove one")
