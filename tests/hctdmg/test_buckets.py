"""Runs of similar lengths: whatever comes, little is padding, and nobody is lost or answered twice."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hctdmg.batch import Sample, collate
from hctdmg.buckets import MAX_PADDING, padding_share, split_by_length
from tests.hctdmg.samples import make_sample, small_config
from tests.hctdmg.test_predictor import make_predictor

WIDTHS = small_config().widths
LENGTHS = st.lists(st.tuples(*[st.one_of(st.just(0), st.integers(1, 300))] * 3), max_size=40)


def samples_of(rows: Sequence[tuple[int, ...]]) -> list[Sample]:
    return [
        {name: np.zeros((length, WIDTHS[name]), np.float32) for name, length in zip(WIDTHS, row, strict=True)}
        for row in rows
    ]


@settings(max_examples=200, deadline=None)
@given(rows=LENGTHS)
def test_whatever_the_lengths_at_most_a_tenth_is_padding(rows: list[tuple[int, ...]]) -> None:
    samples = samples_of(rows)
    runs = split_by_length(samples, list(WIDTHS))
    assert sorted(row for run in runs for row in run) == list(range(len(rows)))
    for run in runs:
        lengths = [rows[row] for row in run]
        primaries = {next((m for m in range(3) if row[m]), None) for row in lengths}
        assert len(primaries) == 1
        assert padding_share(lengths) <= MAX_PADDING + 1e-9
        # What is counted is what the model is given.
        batch = collate([samples[row] for row in run], WIDTHS)
        present = [mask_BT for mask_BT in batch.masks.values() if bool(mask_BT.any())]
        num_computed, num_real = sum(m.numel() for m in present), sum(int(m.sum()) for m in present)
        assert num_real >= (1 - MAX_PADDING - 1e-9) * num_computed


def test_equal_lengths_stay_together() -> None:
    assert split_by_length(samples_of([(5, 50, 25)] * 32), list(WIDTHS)) == [list(range(32))]


def test_a_left_out_modality_is_an_absent_one() -> None:
    full = make_sample(small_config(), {"text": 3})
    assert split_by_length([full, {"text": full["text"]}], list(WIDTHS)) == [[0, 1]]


def test_padding_is_what_the_docstring_says() -> None:
    assert padding_share([(10, 0, 4), (5, 0, 4)]) == pytest.approx(1 - 23 / 28)
    assert padding_share([(0, 0, 0)]) == 0


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=12))
def test_each_sample_gets_its_own_answer_in_its_place(rows: list[tuple[int, ...]]) -> None:
    predictor = make_predictor()
    config = predictor.manifest.model
    samples = [
        make_sample(config, dict(zip(config.names, row, strict=True)), seed) for seed, row in enumerate(rows)
    ]
    together = predictor.predict(samples)
    assert len(together) == len(samples)
    for sample, found in zip(samples, together, strict=True):
        (alone,) = predictor.predict([sample])
        assert (found.label, found.roles) == (alone.label, alone.roles)
        assert found.score == pytest.approx(alone.score, abs=1e-5)
        assert (found.lower, found.upper) == pytest.approx((alone.lower, alone.upper), abs=1e-5)
        for name, reading in found.readings.items():
            other = alone.readings[name]
            assert (reading is None) == (other is None)
            if reading is not None and other is not None:
                assert reading.score == pytest.approx(other.score, abs=1e-5)
