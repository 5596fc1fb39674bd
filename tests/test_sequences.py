"""Frame patterns, ranges and the names of results."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdenoise import sequences
from mdenoise.errors import InputError, UsageError


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("frame.exr", "frame.denoised.exr"),
        ("shot.0101.exr", "shot.denoised.0101.exr"),
        ("shot.-0005.exr", "shot.denoised.-0005.exr"),
        ("a.b.7.exr", "a.b.denoised.7.exr"),
        ("shot_0101.exr", "shot.denoised_0101.exr"),
        ("shot_v002.exr", "shot_v002.denoised.exr"),
        ("shot_v002.0101.exr", "shot_v002.denoised.0101.exr"),
        ("0101.exr", "denoised.0101.exr"),
        ("IMG_0101.dng", "IMG_0101.denoised.dng"),
        ("FRAME.EXR", "FRAME.denoised.EXR"),
        ("two\nlines.0001.exr", "two\nlines.denoised.0001.exr"),
        ("-dash.exr", "-dash.denoised.exr"),
    ],
)
def test_result_is_named_with_the_frame_last(source, result):
    assert sequences.denoised_name(Path("d", source)) == Path("d", result)
    assert sequences.is_denoised_name(Path("d", result))
    assert not sequences.is_denoised_name(Path("d", source))


@given(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).filter(
        lambda s: s.strip(".")
    )
)
def test_result_never_takes_the_name_of_its_source(stem):
    source = Path("d", stem + ".exr")
    result = sequences.denoised_name(source)
    assert result != source
    assert result.parent == source.parent
    assert result.suffix == source.suffix


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("s.####.exr", "s.0007.exr"),
        ("s.#.exr", "s.0007.exr"),
        ("s.##.exr", "s.07.exr"),
        ("s.@@@.exr", "s.007.exr"),
        ("s.@.exr", "s.7.exr"),
        ("s.%04d.exr", "s.0007.exr"),
        ("s.%d.exr", "s.7.exr"),
        ("s.$F4.exr", "s.0007.exr"),
        ("[s]*.####.exr", "[s]*.0007.exr"),
        ("####.exr", "0007.exr"),
        ("s.####.beauty.exr", "s.0007.beauty.exr"),
    ],
)
def test_patterns_find_and_name_their_frames(tmp_path, pattern, name):
    touch(tmp_path, name, "other.0007.exr", "s.x.exr", "s.0007.png", "s.denoised.0007.exr")
    assert sequences.expand(tmp_path / pattern) == ((7, tmp_path / name),)
    assert sequences.parse(tmp_path / pattern).at(7) == tmp_path / name


def test_frames_come_in_numeric_order_past_the_padding(tmp_path):
    touch(tmp_path, "s.10000.exr", "s.9999.exr", "s.-001.exr", "s.00012.exr", "s.12.exr")
    found = sequences.expand(tmp_path / "s.####.exr")
    assert [path.name for _, path in found] == ["s.-001.exr", "s.9999.exr", "s.10000.exr"]
    assert [frame for frame, _ in found] == [-1, 9999, 10000]


def test_range_in_a_pattern_names_files_that_need_not_exist(tmp_path):
    found = sequences.expand(tmp_path / "s.1-5x2#.exr")
    assert [path.name for _, path in found] == ["s.0001.exr", "s.0003.exr", "s.0005.exr"]


def test_frames_option_wins_over_the_patterns_range(tmp_path):
    wanted = sequences.frame_range("1-3x2,120")
    found = sequences.expand(tmp_path / "s.1-9####.exr", wanted)
    assert [path.name for _, path in found] == ["s.0001.exr", "s.0003.exr", "s.0120.exr"]


def test_nothing_found_says_what_is_there(tmp_path):
    touch(tmp_path, "s.007.exr")
    with pytest.raises(InputError, match=r"s\.007\.exr does: is its padding meant") as caught:
        sequences.expand(tmp_path / "s.####.exr")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "abc", "1-3x0", "1.5", "1-9999999999", "1-"])
def test_bad_ranges_are_refused_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        sequences.frame_range(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a##.##.exr", "plain.exr", "a.####.b.####.exr"])
def test_bad_patterns_are_refused_in_one_line(name):
    with pytest.raises(UsageError) as caught:
        sequences.parse(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "frame"),
    [("s.0101.exr", 101), ("s_12.exr", 12), ("IMG0003.dng", 3), ("s.-5.exr", -5), ("s.exr", None), ("s2.b.exr", None)],
)
def test_frame_number_is_the_last_digits(name, frame):
    assert sequences.frame_number(Path(name)) == frame
