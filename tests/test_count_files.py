"""Files of counts: what is read, and what is refused with its path and line."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest

from fastsoftmax._sampling.count_files import LONGEST_LINE
from fastsoftmax.samplers import LearnedUnigram, Unigram


@pytest.fixture
def file_of(tmp_path):
    def write(content):
        path = tmp_path / "counts.csv"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        b"3\n1\n",
        b"3\n1",
        b"3\r\n1\r\n",
        b"\xef\xbb\xbf3\n1\n",
        b"the,3\nof,1\n",
        b'0,the,3\n1,"a,b", 1 \n',
        b"3.0\n1e0\n\n\n",
        "\u00e9,3\n\u00e8,1\n".encode("latin-1"),
    ],
)
def test_counts_are_the_last_field_of_each_line(file_of, content):
    for path in (file_of(content), str(file_of(content))):
        np.testing.assert_array_equal(Unigram.from_file(path).probability([0, 1]), [0.75, 0.25])


def test_options_are_those_of_the_constructor(rng, file_of):
    counts = rng.integers(1, 100, 20)
    path = file_of("\n".join(map(str, counts)).encode())
    options = {"num_reserved": 2, "num_shards": 2, "shard": 1}
    made, read = Unigram(counts, 0.5, **options), Unigram.from_file(path, 0.5, **options)
    assert made.num_classes == read.num_classes == 22
    np.testing.assert_array_equal(read.probability(range(22)), made.probability(range(22)))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"3\nmany\n", 2),
        (b"nan\n", 1),
        (b"1\n2\n1e999\n", 3),
        (b"-1\n", 1),
        (b"inf\n", 1),
        (b"1\n\n2\n", 2),
        (b"1\x002\n", 1),
        (b"\x00", 1),
        (b"1_0\n", 1),
        (b"the,\n", 1),
        (b"\xff\xfe3\x00", 1),
        (b"1\n" + b"7" * (LONGEST_LINE + 1), 2),
        (pickle.dumps([1, 2, 3]), 1),
    ],
)
def test_a_bad_line_is_named(file_of, content, line):
    with pytest.raises(ValueError, match=rf"counts\.csv', line {line}: "):
        Unigram.from_file(file_of(content))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_counts_is_refused(file_of, content):
    with pytest.raises(ValueError, match=r"counts\.csv' holds no counts"):
        Unigram.from_file(file_of(content))


def test_a_file_of_zeros_is_refused(file_of):
    with pytest.raises(ValueError, match=r"counts\.csv': every count is 0"):
        Unigram.from_file(file_of(b"0\n0\n"))


def test_the_number_of_lines_is_checked_if_it_is_given(file_of):
    path = file_of(b"1\n2\n3\n")
    assert Unigram.from_file(path, num_classes=3).num_classes == 3
    with pytest.raises(ValueError, match="line 3: one line more than num_classes=2"):
        Unigram.from_file(path, num_classes=2)
    with pytest.raises(ValueError, match="holds 3 counts; num_classes is 4"):
        Unigram.from_file(path, num_classes=4)


@pytest.mark.parametrize("read", [Unigram.from_file, LearnedUnigram.load])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="missing"):
        read(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"not a regular file.*pipe"):
        read(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read("/dev/zero")


def test_one_endless_line_is_not_held_in_memory(file_of):
    path = file_of(b"1" * (8 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="line 1: longer than"):
        Unigram.from_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
