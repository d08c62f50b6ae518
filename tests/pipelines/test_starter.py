"""The starter: what it is taught from, that training repeats, and what the committed checkpoint can do."""

import io
import json
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from hctdmg.batch import Sample
from hctdmg.checkpoint import load_checkpoint
from hctdmg.predictor import Predictor
from pipelines.audio import AudioExtractor
from pipelines.deadline import Deadline
from pipelines.decode import decode
from pipelines.features import Extractor
from pipelines.media import MediaConfig
from pipelines.prepare import DEFAULT_EXTRACTORS, extractor_contract
from pipelines.segment import Segment
from pipelines.starter.calibrate import calibrate, make_predictor
from pipelines.starter.corpus import make_corpus
from pipelines.starter.evaluate import judge_clips, judge_plain_sentences, load_plain_sentences
from pipelines.starter.measure import load_measured
from pipelines.starter.mixture import WITH_TEXT, WITHOUT_TEXT, scenes_of
from pipelines.starter.ratings import (
    ARCHIVE,
    FILES,
    SDIST,
    SPLITS,
    RatedSentence,
    fetch_sdist,
    plain_wording,
    read_ratings,
)  # fmt: skip
from pipelines.starter.sentences import Composer, Grammar, load_grammar
from pipelines.starter.train import StarterConfig, train_starter
from pipelines.starter.world import SMILE_SENTIMENT, Feeling, World
from pipelines.text import TextExtractor
from pipelines.vision import COLUMNS, FRAME_LONGEST_PX, FRAMES_HZ, VisionExtractor

REPO = Path(__file__).parents[2]
STRETCHES = Path(__file__).parent / "smile_stretches.json"
TINY = StarterConfig(
    num_composed=200, text_epochs=2, composed_per_epoch=100, words_per_epoch=50, sense_epochs=1,
    scenes_per_sense_epoch=60, fusion_epochs=1, rated_per_fusion_epoch=60, composed_per_fusion_epoch=20,
    without_text_per_fusion_epoch=20, select_scenes=20,
)  # fmt: skip


# --- What it is taught from ---------------------------------------------------------------------------------


def write_sdist(path: Path, lines: Mapping[str, str]) -> None:
    """A source distribution as pip fetches it, with other sentences."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for source, name in FILES.items():
            add(archive, f"hutto_ICWSM_2014/{name}", lines.get(source, "").encode())
    with tarfile.open(path, "w:gz") as archive:
        add(archive, ARCHIVE, inner.getvalue())


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def test_ratings_are_read_with_their_documents_and_each_wording_once(tmp_path: Path) -> None:
    write_sdist(
        tmp_path / SDIST,
        {"products": "7_1\t-4\tAwful.\n7_2\t2\tIt's good\n", "tweets": "5\t0.5\tawful!\n6\t4\tyay\n"},
    )
    found = read_ratings(tmp_path / SDIST)
    assert found == [
        RatedSentence("awful!", 0.375, "tweets", "5"),
        RatedSentence("yay", 3.0, "tweets", "6"),
        RatedSentence("It's good", 1.5, "products", "7"),
    ]


def test_another_file_than_the_expected_one_is_refused(tmp_path: Path) -> None:
    write_sdist(tmp_path / SDIST, {})
    with pytest.raises(
        RuntimeError, match=r"sha256 [0-9a-f]{64}, expected 5d7c06e0.*delete it and try again$"
    ):
        fetch_sdist(tmp_path)


def test_a_document_lies_in_one_split_and_the_splits_have_their_shares() -> None:
    sentences = [RatedSentence(str(i), 0.0, "products", str(i // 4)) for i in range(8000)]
    by_document = {s.document: s.split for s in sentences}
    assert all(by_document[s.document] == s.split for s in sentences)
    shares = [sum(split == wanted for split in by_document.values()) / 2000 for wanted in SPLITS]
    assert shares == pytest.approx([0.72, 0.08, 0.10, 0.10], abs=0.03)


def test_composed_sentences_follow_the_formula() -> None:
    found = {text.text: text.sentiment for text in Composer().compose(20_000, seed=5)}
    ratings = {text.text: text.sentiment for text in Composer().words()}
    assert found["not great"] == pytest.approx(-0.74 * ratings["great"])
    assert found["this was pure joy"] == pytest.approx(ratings["joy"])
    assert sum(sentiment == 0 for sentiment in found.values()) > 1000
    assert all(-3 <= sentiment <= 3 for sentiment in found.values())


def test_the_grammar_composes_none_of_the_plain_sentences() -> None:
    pattern = re.compile(grammar_pattern(load_grammar()))
    for text in Composer().compose(300, seed=6):
        assert pattern.fullmatch(plain_wording(text.text)), text.text
    for sentence in load_plain_sentences():
        assert not pattern.fullmatch(plain_wording(sentence.text)), sentence.text


def grammar_pattern(grammar: Grammar) -> str:
    """Everything that the grammar can say, without punctuation."""
    slots = {slot: either(map(plain_wording, choices)) for slot, choices in grammar.slots.items()}
    slots["booster"] = either(grammar.boosters)
    clauses = [
        as_pattern(frame, slots | {"word": either(grammar.words[kind])})
        for frames in (grammar.plain, grammar.negated)
        for kind, of_kind in frames.items()
        for frame in of_kind
    ]
    clause = either(clauses)
    neutral = either(as_pattern(frame, slots) for frame in grammar.neutral)
    opening = either(as_pattern(frame, slots) for frame in grammar.openings)
    closing = either(as_pattern(frame, slots) for frame in grammar.closings)
    return f"(?:{opening} )?(?:{neutral}|{clause}(?: (?:but |and )?{clause})?)(?: {closing})?"


def as_pattern(frame: str, slots: Mapping[str, str]) -> str:
    marked = plain_wording(re.sub(r"\{(\w+)\}", r"slot_\1", frame))
    return re.sub(r"slot_(\w+)", lambda match: slots[match[1]], marked)


def either(choices: object) -> str:
    return f"(?:{'|'.join(sorted(set(choices)))})"  # type: ignore[call-overload]


def test_plain_sentences_are_balanced() -> None:
    sentences = load_plain_sentences()
    assert len({plain_wording(sentence.text) for sentence in sentences}) == 100
    for sign in (-1, 1):
        for negated in (False, True):
            assert sum((s.sign, s.negated) == (sign, negated) for s in sentences) == 25


# --- The made-up world --------------------------------------------------------------------------------------


def feel(text: float | None = None, smile: float | None = None, voice: float | None = None) -> Feeling:
    return Feeling(text, smile, voice, 0.5, face_share=0.25)


def test_the_fused_truth_is_the_stated_formula() -> None:
    assert feel(text=-1.2).fused == -1.2
    assert feel(text=1.2, smile=0.0).fused == 1.2
    assert feel(smile=0.5).fused == SMILE_SENTIMENT / 2
    assert feel(text=2.0, smile=1.0).fused == pytest.approx((2 + 0.5 * SMILE_SENTIMENT) / 1.5)
    assert feel(voice=-0.7).fused == -0.7
    assert feel(text=1.0, voice=-2.0).fused == 1.0
    conflict = feel(text=-2.0, smile=0.9)
    assert conflict.is_conflict
    assert conflict.fused == pytest.approx(-2 + 0.25 * (0.9 * SMILE_SENTIMENT + 2))


def test_a_face_is_never_negative_and_only_a_smile_moves_it() -> None:
    faces, smile = World().draw_faces(np.array([0.0, 1.0] * 100), [30] * 200, np.random.default_rng(0))
    rise = np.array([face[:, COLUMNS.index("smile")].mean() for face in faces])
    assert (smile[::2] == 0).all()
    assert (smile[1::2] <= 1).all()
    assert rise[1::2].mean() > rise[::2].mean() + 0.2


def test_drawn_features_look_like_the_measured_ones() -> None:
    measured = load_measured()
    rng = np.random.default_rng(1)
    voices = np.concatenate(World().draw_voices(np.full(200, 0.5), [50] * 200, rng))
    process = measured.processes["audio"]
    deviation = (voices.mean(axis=0) - np.array(process.mean)) / process.within_sd_D
    assert np.abs(deviation).max() < 0.5


def test_measured_with_the_extractors_of_this_version() -> None:
    contract = extractor_contract(DEFAULT_EXTRACTORS).modalities
    assert load_measured().extractors == {
        name: f"{contract[name].extractor} {contract[name].version}" for name in ("audio", "vision")
    }
    assert not {"d10.mp4", "d18.mp4", "lbax4n.mpg"} & set(load_measured().measured_on)


# --- Training -----------------------------------------------------------------------------------------------


def test_training_repeats_and_covers_every_combination_of_modalities() -> None:
    composed = Composer().compose(400, seed=8)
    rated = [RatedSentence(text.text, text.sentiment, "tweets", str(i)) for i, text in enumerate(composed)]
    weights = []
    for _ in range(2):
        corpus = make_corpus(rated, TINY.num_composed, TINY.seed)
        stages: list[str] = []
        model = train_starter(TINY, corpus, lambda stage, _, to=stages: to.append(stage))  # type: ignore[misc]
        weights.append(model.state_dict())
    assert stages == ["text", "text", "senses", "fusion"]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)
    batches = list(scenes_of(World(), corpus.rated["calibrate"] * 5, 60, seed=3))
    present = {tuple(name in batch[0].sample for name in ("text", "audio", "vision")) for batch in batches}
    assert present == {*WITH_TEXT, *WITHOUT_TEXT}
    calibration = calibrate(model, batches)
    assert calibration.interval_factor > 0
    assert judge_plain_sentences(make_predictor(model, calibration))["n"] == 100


# --- The committed checkpoint -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starter() -> Predictor:
    return Predictor(load_checkpoint("hct-dmg-starter"))


@pytest.fixture(scope="module")
def say() -> TextExtractor:
    return TextExtractor()


def words(say: TextExtractor, text: str) -> Sample:
    return {"text": say.word_features(text.split())}


def test_it_fits_the_extractors_and_says_what_it_is(starter: Predictor) -> None:
    manifest = starter.manifest
    assert manifest.features.differences(extractor_contract(DEFAULT_EXTRACTORS)) == []
    assert "Weakly supervised" in manifest.description
    assert manifest.training["ratings"]["sha256"].startswith("5d7c06e0")
    assert starter.model.num_parameters == manifest.training["figures"]["parameters"]


def test_its_figures_are_those_that_it_was_accepted_for(starter: Predictor) -> None:
    figures = starter.manifest.training["figures"]
    assert figures["ratings"]["r"] >= 0.60
    assert figures["ratings"]["tweets"]["r"] >= 0.80
    assert 0.75 <= figures["ratings"]["coverage_80"] <= 0.85
    assert 0.75 <= figures["intervals"]["all"]["coverage_80"] <= 0.85
    assert figures["incongruity"]["auroc"] >= 0.85
    assert figures["incongruity"]["confident_voices"] == 0
    results = json.loads((REPO / "docs" / "results" / "starter.json").read_text("utf-8"))
    assert results["figures"] == figures


def test_plain_sentences_are_read_with_the_right_sign(starter: Predictor) -> None:
    figures = judge_plain_sentences(starter)
    assert figures["sign_right"] >= 0.80, figures["wrong"]
    assert figures["sign_right"] == pytest.approx(
        starter.manifest.training["figures"]["plain_sentences"]["sign_right"], abs=0.02
    )


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love this, it is wonderful", "positive"),
        ("I love this,", "positive"),
        ("it is wonderful", "positive"),
        ("I hate this, it is terrible", "negative"),
        ("I hate this,", "negative"),
        ("it is terrible", "negative"),
    ],
)
def test_clear_words_are_read_confidently_alone_and_beside_a_face_and_a_voice(
    starter: Predictor, say: TextExtractor, text: str, label: str
) -> None:
    rng = np.random.default_rng(4)
    voice = World().draw_voices(np.array([0.5]), [50], rng)[0]
    face = World().draw_faces(np.array([0.0]), [25], rng)[0][0]
    for beside in ({}, {"audio": voice}, {"vision": face}, {"audio": voice, "vision": face}):
        prediction = starter.predict([{**words(say, text), **beside}])[0]
        reading = prediction.readings["text"]
        assert reading is not None
        assert (reading.label, prediction.label) == (label, label)
        assert reading.confidence >= starter.manifest.calibration.min_confidence


def test_statuses_on_generated_faces(starter: Predictor, say: TextExtractor) -> None:
    rng = np.random.default_rng(5)
    smiling, _ = World().draw_faces(np.ones(40), [25] * 40, rng)
    neutral, _ = World().draw_faces(np.zeros(40), [25] * 40, rng)

    def statuses(text: str, faces: list[np.ndarray]) -> dict[str, float]:
        answers = starter.predict([{**words(say, text), "vision": face} for face in faces])
        found = [answer.incongruity.status for answer in answers]
        return {status: found.count(status) / len(found) for status in set(found)}

    cheerful, terrible = "I love this, it is wonderful", "I hate this, it is terrible"
    assert statuses(terrible, smiling)["incongruent"] >= 0.7
    assert "incongruent" not in statuses(cheerful, smiling)
    assert "incongruent" not in statuses(cheerful, neutral)
    # Neutral faces differ by person as much as some smile: one in ten may be taken for a smile.
    assert statuses(terrible, neutral).get("incongruent", 0) <= 0.1


def test_conflict_widens_the_interval(starter: Predictor, say: TextExtractor) -> None:
    smiling, _ = World().draw_faces(np.ones(40), [25] * 40, np.random.default_rng(6))
    terrible, cheerful = (
        words(say, text) for text in ("I hate this, it is terrible", "I love this, it is wonderful")
    )

    def width(sample: Sample) -> float:
        answer = starter.predict([sample])[0]
        assert answer.lower is not None
        assert answer.upper is not None
        return answer.upper - answer.lower

    seen = [{**terrible, "vision": face} for face in smiling]
    flagged = [sample for sample in seen if starter.predict([sample])[0].incongruity.flag]
    conflict = float(np.mean([width(sample) for sample in flagged]))
    agreement = float(np.mean([width({**cheerful, "vision": sample["vision"]}) for sample in flagged]))
    assert conflict > 1.15 * width(terrible)
    assert conflict > 1.3 * agreement


@pytest.mark.parametrize("present", [("text",), ("audio",), ("vision",), ("audio", "text"), ()])
def test_too_little_to_compare_is_insufficient_evidence(
    starter: Predictor, say: TextExtractor, present: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(7)
    sample = {
        **words(say, "I love this, it is wonderful"),
        "audio": World().draw_voices(np.array([0.9]), [40], rng)[0],
        "vision": World().draw_faces(np.array([1.0]), [20], rng)[0][0],
    }
    answer = starter.predict([{name: sample[name] for name in present}])[0]
    assert answer.incongruity.status == "insufficient_evidence"


def test_plain_statements_are_not_read_as_feeling(starter: Predictor, say: TextExtractor) -> None:
    for text in ("The train leaves at nine.", "The table is next to the door.", "bin blue at f two now"):
        assert starter.predict([words(say, text)])[0].label == "neutral", text


# --- Real clips ---------------------------------------------------------------------------------------------


@pytest.mark.media
def test_smiling_stretches_of_the_checking_clips_read_higher(starter: Predictor, media_dir: Path) -> None:
    assert judge_clips(starter, media_dir / "faces", STRETCHES)["smiling_reads_higher"]


@pytest.mark.media
def test_real_faces_and_voices_beside_clear_words(
    starter: Predictor, say: TextExtractor, media_dir: Path
) -> None:
    extractors: dict[str, Extractor] = {"audio": AudioExtractor(), "vision": VisionExtractor()}
    for clip in ("d18.mp4", "lbax4n.mpg"):
        media = (media_dir / "faces" / clip).read_bytes()
        decoded = decode(
            media, MediaConfig(), Deadline.after(60), frames_hz=FRAMES_HZ, frame_width_px=FRAME_LONGEST_PX
        )
        segment = Segment(stream_id="test", segment_id=clip)
        beside = {name: e.extract(segment, decoded).values_TD for name, e in extractors.items()}
        for text, label in (
            ("I love this, it is wonderful", "positive"),
            ("I hate this, it is terrible", "negative"),
        ):
            answer = starter.predict([{**words(say, text), **beside}])[0]
            reading = answer.readings["text"]
            assert reading is not None
            assert (reading.label, answer.label) == (label, label)
            voice = answer.readings["audio"]
            assert voice is None or voice.confidence < starter.manifest.calibration.min_confidence
            if label == "positive":
                # Neutral or smiling, a face under cheerful words contradicts nothing.
                assert not answer.incongruity.flag
