import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hctdmg.data.describe import describe
from hctdmg.data.errors import DataError
from hctdmg.data.padding import make_split
from hctdmg.data.read import read_dataset
from hctdmg.data.scale import on_cmu_scale
from tests.hctdmg.data import files


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("content", "name", "task", "widths"),
    [
        (files.mult("mosi"), "mult", "regression", (300, 74, 35)),
        (files.mult("mosei"), "mult", "regression", (300, 74, 35)),
        (files.mult("mosi", aligned=False), "mult", "regression", (300, 5, 20)),
        (files.mult("iemocap"), "mult", "binary", (300, 74, 35)),
        (files.mmsa(), "mmsa", "regression", (768, 5, 20)),
        (files.mmsa(aligned=False), "mmsa", "regression", (768, 5, 20)),
        (files.mmsa(sims=True), "mmsa", "regression", (768, 5, 20)),
        (files.multibench(), "multibench", "classes", (300, 81, 371)),
    ],
    ids=["mosi", "mosei", "mosi-unaligned", "iemocap", "mmsa", "mmsa-unaligned", "sims", "multibench"],
)
def test_each_format_is_read_to_its_shapes_and_rows(
    tmp_path: Path, content: Any, name: str, task: str, widths: tuple[int, ...], protocol: int
) -> None:
    dataset = read_dataset(files.save(tmp_path / "data.pkl", content, protocol))
    assert (dataset.name, dataset.task) == (name, task)
    assert dataset.widths == dict(zip(("text", "audio", "vision"), widths, strict=True))
    for split, rows in files.ROWS.items():
        read = dataset.splits[split]
        assert read.num_samples == len(read.ids) == rows
        for modality, x_NTD in read.features.items():
            mask_NT = read.masks[modality]
            assert x_NTD.shape[:2] == mask_NT.shape
            assert np.isfinite(x_NTD).all()
            assert not x_NTD[~mask_NT].any()
            # Padding is on the right: no real step follows an unreal one.
            assert (np.diff(mask_NT.astype(int), axis=1) <= 0).all()
    batch = dataset.splits["train"].batch([2, 0])
    assert batch.num_samples == 2


def test_what_is_particular_to_each_format_is_kept(tmp_path: Path) -> None:
    mosi = read_dataset(files.save(tmp_path / "mosi.pkl", files.mult("mosi")))
    assert mosi.splits["test"].ids[1] == "v1/0.0/1.5"
    assert "train: 1 values of audio are -inf, read as 0" in mosi.warnings
    iemocap = read_dataset(files.save(tmp_path / "iemocap.pkl", files.mult("iemocap")))
    assert iemocap.label_names == ("neutral", "happy", "sad", "angry")
    felt = files.mult("iemocap")["train"]["labels"][:, :, 1]
    assert (iemocap.splits["train"].labels_NK == felt).all()
    sims = read_dataset(files.save(tmp_path / "sims.pkl", files.mmsa(sims=True)))
    assert set(sims.splits["valid"].unimodal) == {"text", "audio", "vision"}
    assert sims.label_range == (-1.0, 1.0)
    assert sims.splits["valid"].ids[0] == "vid0$_$3"
    unaligned = read_dataset(files.save(tmp_path / "unaligned.pkl", files.mmsa(aligned=False)))
    assert unaligned.splits["train"].masks["audio"].sum(axis=1).tolist() == [300] * 6
    assert unaligned.splits["train"].masks["vision"].sum(axis=1).tolist() == [0] + [400] * 5
    assert "train: 1 of 6 samples have no vision (zeros only)" in unaligned.warnings
    humor = files.multibench()
    read = read_dataset(files.save(tmp_path / "humor.pkl", humor)).splits["train"]
    assert read.labels_NK[:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    last = humor["train"]["text"][0, -1]
    assert (read.features["text"][0][read.masks["text"][0]][-1] == last).all()


def test_mfn_folders_are_cut_into_modalities(tmp_path: Path) -> None:
    dataset = read_dataset(files.save_mfn(tmp_path))
    assert dataset.widths == {"text": 300, "audio": 5, "vision": 20}
    assert [dataset.splits[name].num_samples for name in files.ROWS] == list(files.ROWS.values())
    (tmp_path / "y_test.h5").write_bytes(b"no hdf5")
    with pytest.raises(DataError, match=r"y_test\.h5"):
        read_dataset(tmp_path)


class Hostile:
    """Unpickled by anybody careless, it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    content: Any = files.mult("mosi")
    content["train"]["text"] = np.array([Hostile(marker)], object)
    path = files.save(tmp_path / "evil.pkl", content, protocol)
    with pytest.raises(DataError, match=r"it calls posix\.system"):
        read_dataset(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the test's own pickle is harmless"


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        b"c_codecs\nencode\n(S'a'\nS'zlib_codec'\ntR.",
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
    ],
)
def test_no_detour_leads_past_the_list(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "detour.pkl"
    path.write_bytes(program)
    with pytest.raises(DataError, match="it calls"):
        read_dataset(path)


class Lying:
    """A type that says it holds bytes, and has numpy follow them as if they were addresses."""

    def __reduce__(self) -> Any:
        named = ("a",), {"a": (np.dtype("O"), 0)}
        return np.dtype, ("V8", False, True), (3, "|", None, *named, 8, 1, 0)


class Placed:
    """An array made by calling the class, which may say where in memory it is."""

    def __reduce__(self) -> Any:
        return np.ndarray, ((1,), np.dtype("f4"), b"AAAA")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("made", [Lying(), Placed(), np.zeros(1).view(np.matrix), np.recarray(1, "f4")])
def test_no_array_lies_about_what_it_holds(tmp_path: Path, made: object, protocol: int) -> None:
    content: Any = {**files.mult("mosi"), "more": made}
    with pytest.raises(DataError, match="is not a pickle of numpy arrays"):
        read_dataset(files.save(tmp_path / "lying.pkl", content, protocol))


def spoiled(change: Any) -> Any:
    content = files.mult("mosi")
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (spoiled(lambda c: c.pop("valid")), "no split 'valid'"),
        (spoiled(lambda c: c["test"].pop("vision")), "test: has no 'vision'"),
        (spoiled(lambda c: c["test"].update(vision=np.zeros((4, 35)))), r"test: vision has shape \(4, 35\)"),
        (spoiled(lambda c: c["test"].update(vision=np.zeros((3, 9, 35)))), r"with 4 labels \(4, T, D\)"),
        (spoiled(lambda c: c["test"].update(vision=[["a"]])), "test: vision holds no numbers"),
        (spoiled(lambda c: c["test"].update(vision=c["test"]["vision"][:, :, :9])), "all splits must agree"),
        (
            spoiled(lambda c: c["test"]["text"].__setitem__((1, 2, 3), np.nan)),
            "1 values of text are NaN.*sample 1",
        ),
        (spoiled(lambda c: c["test"]["text"].__setitem__((1, 2, 3), np.inf)), "NaN or infinite"),
        (spoiled(lambda c: c["test"].update(labels=np.full((4, 1, 1), np.nan))), "labels are NaN"),
        (spoiled(lambda c: c["test"].update(labels=np.zeros((4, 2)))), "labels have shape"),
        (
            spoiled(lambda c: c["test"]["labels"].__setitem__(2, 4.5)),
            "test, labels: sample v2/0.0/1.5 has 4.5, the scale is from -3 to 3",
        ),
        (spoiled(lambda c: c["test"].update(id=["a"])), "1 ids for 4 labels"),
        ([1, 2], "none of the known formats"),
        ({"train": 3}, "none of the known formats"),
        (collections.OrderedDict(train={}), "none of the known formats"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, content: Any, said: str) -> None:
    path = files.save(tmp_path / "wrong.pkl", content)
    with pytest.raises(DataError, match=said) as caught:
        read_dataset(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_labels_of_modalities_do_not_make_the_scale_another(tmp_path: Path) -> None:
    """Whoever adds them to a file of CMU's keeps its scale; stretched, its labels would go to -9."""
    content = files.mmsa(sims=True)
    content["train"]["regression_labels"][:3] = (-3.0, 1.5, 3.0)
    data = read_dataset(files.save(tmp_path / "data.pkl", content))
    assert data.label_range == (-3.0, 3.0)
    assert on_cmu_scale(data).splits["train"].labels_NK[:3, 0].tolist() == [-3.0, 1.5, 3.0]
    content["valid"]["regression_labels_A"][1] = -3.5
    with pytest.raises(
        DataError, match=r"valid, audio: sample vid1\$_\$3 has -3.5, the scale is from -3 to 3"
    ):
        read_dataset(files.save(tmp_path / "data.pkl", content))


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"garbage", pickle.dumps(files.mult("mosi"))[:-5000]])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.pkl") as caught:
        read_dataset(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="No such file"):
        read_dataset(tmp_path / "nowhere.pkl")


@given(
    lengths=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=5),
    left=st.booleans(),
)
def test_padding_on_either_side_gives_the_same_samples(lengths: list[tuple[int, int]], left: bool) -> None:
    rng = np.random.default_rng(0)
    raw = {name: np.zeros((len(lengths), size, 3), np.float32) for name, size in (("text", 6), ("audio", 7))}
    real = {name: [] for name in raw}  # type: ignore[var-annotated]
    for row, both in enumerate(lengths):
        for name, length in zip(raw, both, strict=True):
            values = rng.uniform(1, 2, size=(length, 3)).astype(np.float32)
            size = raw[name].shape[1]
            begin = size - length if left else 0
            raw[name][row, begin : begin + length] = values
            real[name].append(values)
    split = make_split("train", raw, np.zeros((len(lengths), 1)), None, [])
    for name in raw:
        for row, values in enumerate(real[name]):
            assert (split.features[name][row][split.masks[name][row]] == values).all()
            assert split.masks[name][row].sum() == len(values)


def test_aligned_modalities_stay_on_one_clock() -> None:
    """A silent first word is a real step of the audio, as long as the text has that word."""
    raw = {"text": np.ones((1, 4, 2), np.float32), "audio": np.ones((1, 4, 1), np.float32)}
    raw["text"][0, 3:] = 0
    raw["audio"][0, [0, 3]] = 0
    split = make_split("train", raw, np.zeros((1, 1)), None, [])
    assert split.masks["audio"].tolist() == split.masks["text"].tolist() == [[True] * 3]
    assert split.features["audio"][0, :, 0].tolist() == [0, 1, 1]


def test_a_data_set_in_figures(tmp_path: Path) -> None:
    path = files.save(tmp_path / "data.pkl", files.mmsa(aligned=False, sims=True))
    summary = describe(read_dataset(path))["train"]
    assert summary.num_samples == 6
    assert summary.modalities["vision"].missing_share == pytest.approx(1 / 6)
    assert summary.modalities["audio"].median_steps == 300
    assert summary.modalities["text"].width == 768
    assert sum(summary.labels.values()) == 6
    assert summary.unimodal == ("text", "audio", "vision")
