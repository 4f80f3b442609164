"""An .npz file is the same bytes for the same arrays, whichever Python wrote it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile

import numpy as np
import pytest

from powtwo.core import arrays

ARRAYS = {
    "pixels": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "layers.0.output": np.array([[-(2**31), 2**31 - 1]], dtype=np.int32),
    "labels": np.zeros(0, dtype=np.int64),
    "classes": np.array(["dark", "bright"]),
    "large": np.arange(2000, dtype=np.int16),
    "turned": np.arange(6, dtype=np.int64).reshape(2, 3).T,
}
DIGEST = "e199e3d20838e967dbb5dd003bd192d852ab5f8e1fa046ce72897b20cf31abe5"


def written(values):
    buffer = io.BytesIO()
    arrays.write(buffer, values)
    return buffer.getvalue()


def test_the_bytes_are_these():  # no word of the time, the machine or Python
    assert hashlib.sha256(written(ARRAYS)).hexdigest() == DIGEST


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 1000], ids=["small", "beyond 2 GiB"])
def test_arrays_come_back_and_numpy_reads_them(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    path = tmp_path / "arrays.npz"
    path.write_bytes(written(ARRAYS))
    with zipfile.ZipFile(path) as archive:
        assert (archive.getinfo("large.npy").extract_version == 45) == (limit == 1000)
    with np.load(path) as stored:
        for values in (arrays.read(path), stored):
            assert list(values) == list(ARRAYS)
            for name, array in ARRAYS.items():
                assert values[name].dtype == array.dtype
                assert np.array_equal(values[name], array)


def test_objects_are_neither_written_nor_read(tmp_path):
    objects = {"pixels": np.array([{}], dtype=object)}
    with pytest.raises(ValueError, match="allow_pickle"):
        written(objects)
    np.savez(tmp_path / "objects.npz", allow_pickle=True, **objects)
    with pytest.raises(ValueError, match="^Object arrays cannot be loaded"):
        arrays.read(tmp_path / "objects.npz")


def damaged(content, seed):
    """Set two bytes of a file to something else."""
    draw = np.random.default_rng(seed)
    array = np.frombuffer(content, np.uint8).copy()
    array[draw.integers(len(array), size=2)] = draw.integers(256, size=2)
    return array.tobytes()


def test_a_broken_file_gives_one_line(tmp_path):
    path = tmp_path / "arrays.npz"
    single = io.BytesIO()
    np.save(single, ARRAYS["pixels"])  # an array, in no archive
    for content in (b"", b"PK broken", written(ARRAYS)[:200], single.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
            arrays.read(path)
    for seed in range(300):
        path.write_bytes(damaged(written(ARRAYS), seed))
        with contextlib.suppress(ValueError):  # and no other error; pixels may change unseen
            arrays.read(path)
    with pytest.raises(FileNotFoundError):
        arrays.read(tmp_path / "none.npz")
