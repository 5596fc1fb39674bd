"""A short run of the fuzzer, and every small file that it ever found something with."""

from pathlib import Path

import pytest

from .fuzz import batches, run, seeds

CORPUS = Path(__file__).parent / "fuzz" / "corpus"


@pytest.fixture(autouse=True)
def slow_is_no_finding(monkeypatch):
    """A hang is for ever; on a machine that has other things to do, starting alone can take half a minute."""
    monkeypatch.setattr(batches, "HANG_S", 300)


def files_of(*counts):
    files = {}
    for kind, count in counts:
        files |= run.damaged(kind, range(count), 2, seeds.make(kind))
    return files


def test_damaged_files_are_denoised_or_refused_and_good_ones_among_them_denoised(tmp_path):
    tally = batches.Tally()
    batches.run_batch(files_of(("exr", 90), ("raw", 30), ("srgb", 30)), tmp_path, tally)
    assert not tally.findings
    assert tally.controls == tally.controls_denoised >= 8
    assert tally.refused > 20 and tally.denoised > 20 and tally.rss_mib > 10


def test_files_that_once_were_a_finding(tmp_path):
    files = {path.name: path.read_bytes() for path in CORPUS.iterdir() if path.suffix not in (".md", "")}
    good = seeds.make("exr")
    files |= {f"{batches.CONTROL}{name}": good[name] for name in ("zip.exr", "piz.exr")}
    tally = batches.Tally()
    batches.run_batch(files, tmp_path, tally)
    assert not tally.findings and tally.controls_denoised == 2


def test_alone_in_a_process(tmp_path):
    tally = batches.Tally()
    for name, content in files_of(("exr", 2), ("raw", 1), ("srgb", 1)).items():
        batches.run_alone(name, content, tmp_path, tally)
    assert not tally.findings and tally.files >= 4


def test_a_mutation_is_the_same_every_time():
    good = seeds.make("srgb")
    assert [run.mutate(good, "srgb", 1, n) for n in range(20)] == [run.mutate(good, "srgb", 1, n) for n in range(20)]
    assert len({run.mutate(good, "srgb", 1, n)[1] for n in range(20)}) == 20
