"""The demonstration: tokens are counted right, scores mean what they say, the output is whole."""

import re
import sysconfig

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.cli import main
from fastsoftmax.demo import corpus, model

FIRST = "import os\nimport sys\n\nfor i in range(3):\n    print(i)\n"
SECOND = "import os as system\nimport re\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.py").write_text(FIRST)
    (tmp_path / "b.py").write_text(SECOND)
    (tmp_path / "notes.txt").write_text("import nothing")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "c.py").write_text("import tests")
    return tmp_path


@pytest.fixture
def text(folder):
    return corpus.load(corpus.sources(folder), 100)


def counts(text, *words):
    numbers = [text.vocabulary.index(word) for word in words]
    return dict(zip(text.vocabulary, text.following(*numbers), strict=True))


def test_sources_are_the_python_files_without_tests(folder):
    assert [file.name for file in corpus.sources(folder)] == ["a.py", "b.py"]


def test_the_most_frequent_token_comes_first(text):
    assert text.vocabulary[0] == "import"
    assert text.size == len(FIRST) + len(SECOND)


def test_counts_of_what_follows(text):
    after = counts(text, "import")
    assert (after["os"], after["sys"], after["re"], after["import"]) == (2, 1, 1, 0)
    assert counts(text, "import", "os") == {**dict.fromkeys(after, 0), "import": 1, "as": 1}


def test_nothing_follows_across_files(text):
    assert sum(counts(text, "i", ")").values()) == 0


def test_rare_tokens_are_outside_a_small_vocabulary(folder):
    text = corpus.load(corpus.sources(folder), 2)
    assert text.vocabulary[0] == "import"
    assert len(text.vocabulary) == 2
    assert (text.ids == corpus.OUTSIDE).sum() == len(text.ids) - np.isin(text.ids, (0, 1)).sum()
    assert sum(counts(text, "import").values()) <= 4


def test_operators_are_single_tokens():
    found = corpus.TOKEN.findall('x1 += a->b != """doc"""')
    assert found == ["x1", "+=", "a", "->", "b", "!=", '"""', "doc", '"""']


def test_places_lead_back_to_the_source(text, folder):
    for position in np.flatnonzero(text.ids != corpus.OUTSIDE):
        place = text.place(position)
        rest = place.file.read_text()[len(place.before) :]
        assert rest.startswith(text.vocabulary[text.ids[position]])
        assert place.line == place.before.count("\n") + 1


def test_pairs_agree_with_the_counts(text):
    pairs = model.count_pairs(text)
    for token in range(len(text.vocabulary)):
        np.testing.assert_array_equal(pairs.row(token), text.following(token))


def test_softmax_of_the_scores_is_the_smoothed_distribution(text):
    pairs = model.count_pairs(text)
    position = int(np.flatnonzero(text.ids == text.vocabulary.index("as"))[0])
    (row,) = model.scores(text, pairs, np.array([position]))
    assert row.dtype == np.float32

    def smoothed(seen, prior):
        return (seen + model.PRIOR * prior) / (seen.sum() + model.PRIOR)

    frequency = np.bincount(text.ids[text.ids != corpus.OUTSIDE])
    after_last = smoothed(pairs.row(text.ids[position - 1]), frequency / frequency.sum())
    expected = smoothed(text.following(*text.ids[position - 2 : position]), after_last)
    probabilities = fs.softmax(row)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert probabilities.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    # logsumexp is the logarithm of all that was counted
    assert fs.logsumexp(row) == pytest.approx(np.log(1 + 1 + model.PRIOR), rel=1e-5)


def test_contexts_are_familiar_different_and_decided_by_the_seed(folder):
    (folder / "d.py").write_text(FIRST * 2 * model.FAMILIAR)
    text = corpus.load(corpus.sources(folder), 100)
    pairs = model.count_pairs(text)
    positions = model.choose(text, pairs, 5, 1)
    contexts = {tuple(text.ids[position - 2 : position]) for position in positions}
    assert len(contexts) == len(positions) == 5
    for before, last in contexts:
        assert text.following(before)[last] >= model.FAMILIAR
        assert text.vocabulary[last].isidentifier()
    np.testing.assert_array_equal(positions, model.choose(text, pairs, 5, 1))
    assert not np.array_equal(positions, model.choose(text, pairs, 5, 2))


def test_the_whole_demonstration(capsys):
    small = ("--vocabulary", "2000", "--contexts", "6", "--threads", "1")
    assert main(["demo", *small]) == 0
    shown = capsys.readouterr().out
    assert "6 places x 2,000 next tokens" in shown
    blocks = shown.split(" _\n")[1:]
    assert len(blocks) == 5
    for block in blocks:
        shares = [float(share) for share in re.findall(r" +([\d.]+)%", block)]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 100.05
        assert re.search(r"really: \S+  \(choice [\d,]+ of 2,000\)", block)
    for name in fs.backends():
        assert sum(line.split()[:2] == [name, "1"] for line in shown.splitlines()) == 1


def test_without_sources_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert main(["demo"]) == 1
    assert "no Python source files" in capsys.readouterr().err
