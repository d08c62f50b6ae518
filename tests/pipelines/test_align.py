"""Alignment: each modality's own steps, or one step for each word."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.align import align
from pipelines.features import Track, absent

WIDTHS = {"text": 3, "audio": 2, "vision": 1}


def track(values: list[list[float]], times: list[tuple[float, float]]) -> Track:
    return Track(np.array(values, np.float32), np.array(times, np.float32).reshape(-1, 2), 1.0)


@st.composite
def tracks(draw: st.DrawFn) -> dict[str, Track]:
    made = {}
    for name, width in WIDTHS.items():
        edges = sorted(draw(st.lists(st.floats(0, 30, width=32), max_size=12)))
        times = list(zip(edges[::2], edges[1::2], strict=False))
        values = draw(
            st.lists(st.floats(-5, 5, width=32), min_size=width * len(times), max_size=width * len(times))
        )
        rows = np.array(values, np.float32).reshape(len(times), width)
        made[name] = Track(rows, np.array(times, np.float32).reshape(-1, 2), float(bool(times)))
    return made


@given(tracks())
def test_unaligned_keeps_each_modalitys_own_steps(given_tracks: dict[str, Track]) -> None:
    features = align(given_tracks, "unaligned")
    for name, one in given_tracks.items():
        np.testing.assert_array_equal(features[name], one.values_TD)


@given(tracks())
def test_word_aligned_modalities_have_a_step_for_each_word(given_tracks: dict[str, Track]) -> None:
    features = align(given_tracks, "word")
    lengths = {len(features[name]) for name, one in given_tracks.items() if one.num_steps}
    assert len(lengths) <= 1
    if given_tracks["text"].num_steps:
        assert lengths == {given_tracks["text"].num_steps}
        np.testing.assert_array_equal(features["text"], given_tracks["text"].values_TD)


@given(tracks())
def test_absent_stays_absent_and_present_stays_present(given_tracks: dict[str, Track]) -> None:
    features = align(given_tracks, "word")
    end_s = max(float(one.times_T2.max(initial=0)) for one in given_tracks.values())
    for name, one in given_tracks.items():
        assert features[name].shape[1] == WIDTHS[name]
        if one.num_steps == 0:
            assert len(features[name]) == 0
        elif end_s > 0.01:
            assert len(features[name]) > 0


@given(tracks(), st.sampled_from(["word", "unaligned"]), st.permutations(list(WIDTHS)))
def test_the_order_of_the_tracks_does_not_matter(
    given_tracks: dict[str, Track], alignment: str, order: list[str]
) -> None:
    assert alignment in ("word", "unaligned")
    features = align(given_tracks, "word" if alignment == "word" else "unaligned")
    permuted = align(
        {name: given_tracks[name] for name in order}, "word" if alignment == "word" else "unaligned"
    )
    assert list(permuted) == order
    for name in WIDTHS:
        np.testing.assert_array_equal(features[name], permuted[name])


@given(tracks())
def test_a_mean_stays_within_what_it_averages(given_tracks: dict[str, Track]) -> None:
    for name, values_TD in align(given_tracks, "word").items():
        own = given_tracks[name].values_TD
        if len(values_TD):
            assert (values_TD >= own.min(axis=0) - 1e-5).all()
            assert (values_TD <= own.max(axis=0) + 1e-5).all()


def test_a_word_gets_the_mean_of_the_steps_it_overlaps() -> None:
    given_tracks = {
        "text": track([[1, 0, 0], [2, 0, 0]], [(0.0, 0.25), (0.3, 0.5)]),
        "audio": track(
            [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]], [(i / 10, (i + 1) / 10) for i in range(5)]
        ),
    }
    np.testing.assert_allclose(align(given_tracks, "word")["audio"], np.array([[2, 20], [4.5, 45]]))


def test_a_word_that_no_step_overlaps_gets_the_nearest() -> None:
    given_tracks = {
        "text": track([[1, 0, 0], [2, 0, 0], [3, 0, 0]], [(0.0, 0.5), (2.0, 2.5), (2.4, 2.4)]),
        "vision": track([[7], [9]], [(1.0, 1.2), (3.0, 3.2)]),
    }
    np.testing.assert_array_equal(align(given_tracks, "word")["vision"], [[7], [9], [9]])


@pytest.mark.parametrize(("seconds", "num_steps"), [(2.0, 5), (2.1, 6), (0.1, 1)])
def test_without_words_steps_of_two_fifths_of_a_second_are_assumed(seconds: float, num_steps: int) -> None:
    times = [(i / 10, (i + 1) / 10) for i in range(round(seconds * 10))]
    given_tracks = {"text": absent(3), "audio": track([[i, 0] for i in range(len(times))], times)}
    features = align(given_tracks, "word")
    assert len(features["text"]) == 0
    assert len(features["audio"]) == num_steps
    np.testing.assert_allclose(features["audio"][0, 0], np.mean(range(min(4, len(times)))))


def test_nothing_at_all_is_no_step() -> None:
    features = align({"text": absent(3), "audio": absent(2)}, "word")
    assert [values.shape for values in features.values()] == [(0, 3), (0, 2)]
