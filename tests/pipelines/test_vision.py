"""Vision features: which face is followed, and what its smile reads, on drawn and on real faces."""

import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.deadline import Deadline
from pipelines.decode import Decoded, Frame, decode
from pipelines.features import Track
from pipelines.fit_smile_prior import fit
from pipelines.fit_smile_prior import main as fit_smile_prior
from pipelines.media import MediaConfig
from pipelines.segment import Segment
from pipelines.smile import load_prior
from pipelines.vision import COLUMNS, FRAME_LONGEST_PX, VisionExtractor
from workers.drawn_face import Expression, Look, draw_face, draw_wall

Picture = npt.NDArray[np.uint8]
SEGMENT = Segment(stream_id="s", segment_id="s/0")
LOOK = Look((214, 168, 140), (62, 44, 34), (60, 92, 140), (150, 165, 175))
STRETCHES = json.loads((Path(__file__).parent / "smile_stretches.json").read_text())


@pytest.fixture(scope="module")
def vision() -> VisionExtractor:
    return VisionExtractor()


def decoded(pictures: Sequence[Picture]) -> Decoded:
    frames = tuple(Frame(index / 5, picture) for index, picture in enumerate(pictures))
    return Decoded(len(pictures) / 5, None, 16000, frames)


def column(track: Track, name: str) -> npt.NDArray[np.float32]:
    return track.values_TD[:, COLUMNS.index(name)]


def face(smile: float = 0.0, width_px: int = 320, height_px: int = 240) -> Picture:
    return draw_face(width_px, height_px, LOOK, Expression(smile))


def beside(left: Picture, right: Picture, right_share: float) -> Picture:
    """Two people in one picture, the right one smaller, on grey."""
    small = cv2.resize(right, None, fx=right_share, fy=right_share, interpolation=cv2.INTER_AREA)
    canvas = np.full((left.shape[0], left.shape[1] + small.shape[1], 3), 128, np.uint8)
    canvas[:, : left.shape[1]] = left
    canvas[: small.shape[0], left.shape[1] :] = small
    return canvas


def clip(media_dir: Path, name: str) -> Decoded:
    media = (media_dir / "faces" / name).read_bytes()
    return decode(media, MediaConfig(), Deadline.after(60), frame_width_px=FRAME_LONGEST_PX)


def test_columns_are_35_different_names(vision: VisionExtractor) -> None:
    assert len(set(COLUMNS)) == 35 == vision.contract.width


def test_a_step_for_each_frame_that_shows_the_face(vision: VisionExtractor) -> None:
    wall = draw_wall(320, 240, LOOK)
    pictures = [wall, wall, *[face()] * 4, wall, *[face()] * 3]
    track = vision.extract(SEGMENT, decoded(pictures))
    np.testing.assert_allclose(track.times_T2[:, 0], [0.4, 0.6, 0.8, 1.0, 1.4, 1.6, 1.8], atol=1e-6)
    assert track.values_TD.shape == (7, 35)
    assert track.quality == pytest.approx(0.7)


@pytest.mark.parametrize(
    "pictures",
    [
        [],
        [draw_wall(320, 240, LOOK)] * 5,
        [np.zeros((240, 320, 3), np.uint8)] * 3,
        [np.full((1, 1, 3), 255, np.uint8)] * 3,
        [np.full((2, 1000, 3), 90, np.uint8)] * 2,
        [np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)] * 3,
    ],
    ids=["no track", "wall", "black", "one pixel", "a line", "noise"],
)
def test_no_face_is_absence(vision: VisionExtractor, pictures: list[Picture]) -> None:
    track = vision.extract(SEGMENT, decoded(pictures))
    assert track.values_TD.shape == (0, 35)
    assert track.quality == 0


def test_one_frame_is_enough_of_a_segment_of_one(vision: VisionExtractor) -> None:
    track = vision.extract(SEGMENT, decoded([face()]))
    assert track.num_steps == 1
    assert np.isfinite(track.values_TD).all()


def test_a_face_seen_once_among_many_frames_is_no_person(vision: VisionExtractor) -> None:
    wall = draw_wall(320, 240, LOOK)
    assert vision.extract(SEGMENT, decoded([wall] * 5 + [face()] + [wall] * 4)).num_steps == 0


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_any_pictures_give_finite_features(
    vision: VisionExtractor, width_px: int, height_px: int, num_frames: int, seed: int
) -> None:
    shape = (num_frames, height_px, width_px, 3)
    track = vision.extract(
        SEGMENT, decoded(list(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)))
    )
    assert np.isfinite(track.values_TD).all()


def test_a_drawn_smile_reads_higher_than_a_drawn_rest(vision: VisionExtractor) -> None:
    smiling, resting = (vision.extract(SEGMENT, decoded([face(smile)] * 10)) for smile in (1.0, 0.0))
    assert column(smiling, "smile").min() > 0.8
    assert column(resting, "smile").max() < 0.3


def test_a_smile_that_begins_is_seen_beginning(vision: VisionExtractor) -> None:
    smile = column(vision.extract(SEGMENT, decoded([face(0.0)] * 8 + [face(1.0)] * 8)), "smile")
    assert smile[:7].max() < 0.3
    assert smile[9:].min() > 0.8


def test_the_larger_of_two_faces_is_the_segments(vision: VisionExtractor) -> None:
    track = vision.extract(SEGMENT, decoded([beside(face(1.0), face(0.0), 0.6)] * 6))
    assert column(track, "smile").min() > 0.8
    assert column(track, "face_x").max() < 0
    track = vision.extract(SEGMENT, decoded([beside(face(0.0), face(1.0), 0.6)] * 6))
    assert column(track, "smile").max() < 0.3


def test_a_newcomer_does_not_take_over(vision: VisionExtractor) -> None:
    alone = beside(face(0.0), np.full((240, 320, 3), 128, np.uint8), 0.8)
    both = beside(face(0.0), face(1.0), 0.8)
    track = vision.extract(SEGMENT, decoded([alone] * 5 + [both] * 10))
    assert track.num_steps == 15
    assert np.ptp(column(track, "face_x")) < 0.02
    assert column(track, "smile").max() < 0.3


def test_who_moves_is_followed(vision: VisionExtractor) -> None:
    scene = np.full((240, 480, 3), 128, np.uint8)
    pictures = []
    for shift_px in range(0, 160, 16):
        moved = scene.copy()
        moved[:, shift_px : shift_px + 320] = face()
        pictures.append(moved)
    track = vision.extract(SEGMENT, decoded(pictures))
    assert track.num_steps == 10
    # 16 px of 480 a step; at 5 steps a second about 0.8 face widths.
    np.testing.assert_allclose(np.diff(column(track, "face_x"))[1:-1], 16 / 480, atol=0.008)
    assert column(track, "face_x_delta")[2:-1].mean() == pytest.approx(
        16 * 5 / (480 * 2 ** column(track, "face_size").mean()), rel=0.1
    )


def test_a_small_face_is_found_by_a_closer_look(vision: VisionExtractor) -> None:
    large = np.full((480, 640, 3), 128, np.uint8)
    large[30:150, 400:560] = face(0.0, 160, 120)
    track = vision.extract(SEGMENT, decoded([large] * 6))
    assert track.num_steps == 6
    assert 0.2 < track.quality < 1
    assert column(track, "face_x").mean() == pytest.approx(480 / 640 - 0.5, abs=0.02)


def test_threads_get_what_one_after_the_other_gets(vision: VisionExtractor) -> None:
    segments = [decoded([face(smile)] * 6) for smile in (0.0, 0.4, 0.7, 1.0)]
    alone = [VisionExtractor().extract(SEGMENT, item) for item in segments]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda item: vision.extract(SEGMENT, item), segments * 3))
    for one, other in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(one.values_TD, other.values_TD)


def test_the_prior_shrinks_a_constant_level_only_part_of_the_way() -> None:
    prior = load_prior()
    broad_smile = np.log1p(140)
    rise = broad_smile - prior.baseline(np.full(25, broad_smile))
    assert prior.smile(np.array([rise]))[0] > 0.5
    for neutral in (prior.mean, prior.mean - prior.between_sd, prior.mean + prior.between_sd):
        rise = neutral - prior.baseline(np.full(25, neutral))
        assert prior.smile(np.array([rise]))[0] < 0.25


def test_fitting_the_prior_gives_each_person_the_same_weight() -> None:
    short, long = np.full(2, 1.0, np.float32), np.full(200, 3.0, np.float32)
    prior = fit([short, long], ["a", "b"])
    assert prior.mean == pytest.approx(2)
    assert prior.between_sd == pytest.approx(np.sqrt(2))
    assert prior.fitted_on == ("a", "b")


def test_the_clips_that_check_did_not_fit() -> None:
    assert not set(STRETCHES) & set(load_prior().fitted_on)


@pytest.mark.media
def test_the_committed_prior_is_what_its_clips_give(
    media_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    committed = dataclasses.asdict(load_prior())
    fit_smile_prior([str(media_dir / "faces" / name) for name in committed.pop("fitted_on")])
    refitted = json.loads(capsys.readouterr().out)
    # Other versions of FFmpeg and OpenCV shift a pixel here and there.
    assert {name: refitted[name] for name in committed} == pytest.approx(committed, abs=0.1)


@pytest.mark.media
@pytest.mark.parametrize("name", ["d10.mp4", "d18.mp4", "lbax4n.mpg"])
def test_a_real_smile_reads_higher_than_a_real_rest(
    vision: VisionExtractor, media_dir: Path, name: str
) -> None:
    track = vision.extract(SEGMENT, clip(media_dir, name))
    smiling, neutral = (_within(track, STRETCHES[name][kind]) for kind in ("smiling", "neutral"))
    assert neutral.mean() < 0.25
    assert neutral.max() < 0.5
    if len(smiling):
        assert smiling.min() > 0.5
        assert smiling.mean() - neutral.mean() > 0.6


@pytest.mark.media
def test_a_smile_that_lasts_the_whole_segment_stays_one(vision: VisionExtractor, media_dir: Path) -> None:
    whole = clip(media_dir, "d10.mp4")
    frames = tuple(frame for frame in whole.frames if 7.0 <= frame.time_s <= 9.9)
    smile = column(vision.extract(SEGMENT, Decoded(3.0, None, 16000, frames)), "smile")
    assert len(smile) >= 14
    assert smile.min() > 0.5


@pytest.mark.media
def test_a_whole_body_shows_a_small_face(vision: VisionExtractor, media_dir: Path) -> None:
    track = vision.extract(SEGMENT, clip(media_dir, "s13.mp4"))
    assert track.num_steps >= 15
    assert column(track, "smile").mean() < 0.25
    assert 0.3 < track.quality < 1


@pytest.mark.media
@pytest.mark.parametrize("name", ["nasa_13013.mp4", "h264_10bits.mp4"])
def test_moving_pictures_without_a_face_are_absent(
    vision: VisionExtractor, media_dir: Path, name: str
) -> None:
    media = (media_dir / "odd" / name).read_bytes()
    assert vision.extract(SEGMENT, decode(media, MediaConfig(), Deadline.after(60))).num_steps == 0


def _within(track: Track, stretches: list[list[float]]) -> npt.NDArray[np.float32]:
    times_s = track.times_T2[:, 0]
    is_within = np.zeros(len(times_s), bool)
    for start_s, end_s in stretches:
        is_within |= (times_s >= start_s - 1e-3) & (times_s <= end_s + 1e-3)
    return column(track, "smile")[is_within]
