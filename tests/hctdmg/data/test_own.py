import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hctdmg.contract import FeatureContract, ModalityContract
from hctdmg.data.errors import DataError
from hctdmg.data.own import (
    FEATURES,
    SAMPLES,
    Example,
    FeatureSet,
    load_features,
    load_sample,
    save_features,
    save_sample,
)
from hctdmg.data.read import read_dataset
from workers.cli import run

CONTRACT = FeatureContract(
    {
        "text": ModalityContract("words", "1", 4, None, {"vectors": "2.0"}),
        "audio": ModalityContract("sound", "1", 3, 10.0),
        "vision": ModalityContract("faces", "7", 2, 5.0, {"prior": {"mean": 0.25}}),
    },
    "unaligned",
)
WIDTHS = {name: one.width for name, one in CONTRACT.modalities.items()}
ROWS = {"train": 5, "valid": 2, "test": 3}


def make_sample(rng: np.random.Generator, **num_steps: int) -> dict[str, np.ndarray]:
    return {
        name: rng.normal(size=(num_steps.get(name, 4), width)).astype(np.float32)
        for name, width in WIDTHS.items()
    }


def save_set(
    folder: Path, task: str = "regression", names: tuple[str, ...] = ()
) -> dict[str, dict[str, np.ndarray]]:
    """A small set; gives back what went into it, by id."""
    rng = np.random.default_rng(1)
    samples, examples = {}, []
    for split, num in ROWS.items():
        for row in range(num):
            name = f"{split} {row}"
            samples[name] = make_sample(rng, text=row, audio=3 + row)
            labels = tuple(float((row + k) % 2) for k in range(len(names) if task == "binary" else 1))
            stored = save_sample(folder, f"{split}{row}", samples[name])
            examples.append(Example(name, split, labels, stored))  # type: ignore[arg-type]
    found = FeatureSet(CONTRACT, task, names, (-3.0, 3.0), tuple(examples), {"manifest": "m.csv"}, ("1 odd",))  # type: ignore[arg-type]
    save_features(folder, found)
    assert load_features(folder) == found
    return samples


def test_what_was_written_is_read_padded_with_its_contract(tmp_path: Path) -> None:
    samples = save_set(tmp_path)
    dataset = read_dataset(tmp_path)
    assert dataset.name == "hctdmg-features"
    assert dataset.contract == CONTRACT
    assert list(dataset.widths.items()) == list(WIDTHS.items())
    assert dataset.warnings == ("1 odd",)
    for split, num in ROWS.items():
        one = dataset.splits[split]
        assert one.num_samples == num
        assert one.labels_NK.shape == (num, 1)
        for row, name in enumerate(one.ids):
            for modality, x_TD in samples[name].items():
                mask_T = one.masks[modality][row]
                assert mask_T.sum() == len(x_TD)
                assert np.array_equal(one.features[modality][row][mask_T], x_TD)
                assert not one.features[modality][row][~mask_T].any()


@pytest.mark.parametrize(("task", "num_labels"), [("binary", 3), ("classes", 1)])
def test_emotions_have_a_label_each_or_one_among_them(tmp_path: Path, task: str, num_labels: int) -> None:
    save_set(tmp_path, task, ("happy", "sad", "angry"))
    dataset = read_dataset(tmp_path)
    assert (dataset.task, dataset.label_names) == (task, ("happy", "sad", "angry"))
    assert dataset.splits["train"].labels_NK.shape == (ROWS["train"], num_labels)


def test_a_split_without_samples_is_a_warning(tmp_path: Path) -> None:
    save_features(tmp_path, FeatureSet(CONTRACT, "regression", (), (-3.0, 3.0), ()))
    dataset = read_dataset(tmp_path)
    assert dataset.warnings == ("train: has no sample", "valid: has no sample", "test: has no sample")
    assert dataset.widths == WIDTHS


def test_the_command_line_describes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_set(tmp_path)
    assert run(["data", "describe", str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["split"], line["num_samples"], line["format"]) for line in lines] == [
        (split, num, "hctdmg-features") for split, num in ROWS.items()
    ]
    assert lines[0]["modalities"]["text"]["missing_share"] == 0.2


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=3, max_size=3), seed=st.integers(0, 99))
def test_a_sample_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("own")
    sample = make_sample(np.random.default_rng(seed), **dict(zip(WIDTHS, lengths, strict=True)))
    stored = save_sample(folder, "k", sample)
    arrays, again = load_sample(folder, "k", WIDTHS)
    assert again == stored
    assert all(np.array_equal(arrays[name], sample[name]) for name in WIDTHS)
    assert [path.name for path in (folder / SAMPLES).iterdir()] == ["k.safetensors"]


def test_equal_samples_are_equal_files(tmp_path: Path) -> None:
    """safetensors writes several entries of metadata in an order of chance."""
    sample = make_sample(np.random.default_rng(1))
    files = set()
    for number in range(20):
        save_sample(tmp_path / str(number), "k", sample)
        files.add((tmp_path / str(number) / SAMPLES / "k.safetensors").read_bytes())
    assert len(files) == 1


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    path.write_bytes(path.with_name("train1.safetensors").read_bytes())


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [flip_last_byte, truncate, empty, swap, remove])
def test_a_damaged_sample_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    save_set(tmp_path)
    damage(tmp_path / SAMPLES / "train0.safetensors")
    with pytest.raises(DataError, match=r"train0\.safetensors: .*extract again"):
        read_dataset(tmp_path)


def test_a_sample_that_was_replaced_by_another_extraction_is_refused(tmp_path: Path) -> None:
    save_set(tmp_path)
    save_sample(tmp_path, "valid1", make_sample(np.random.default_rng(99)))
    with pytest.raises(DataError, match=r"valid 1 is not the one that features\.json names"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.pop("contract"), "missing key 'contract'"),
        (lambda value: value.update(format_version=2), "format_version 2"),
        (lambda value: value.update(format="other"), "is not 'hctdmg-features'"),
        (lambda value: value.update(task="classes", label_names=[]), "there is no class"),
        (lambda value: value.update(task="ranking"), "task: expected one of"),
        (lambda value: value["examples"][0].update(split="dev"), "split: expected one of"),
        (lambda value: value["examples"][0].update(labels=[1.0, 2.0]), "1 labels and the modalities"),
        (lambda value: value["examples"][0].update(labels=[float("nan")]), "expected a finite number"),
        (
            lambda value: value["examples"][1].update(labels=[-3.5]),
            "train 1 has -3.5, the scale is from -3 to 3",
        ),
        (lambda value: value.update(label_range=[3.0, 3.0]), "two numbers, the least first"),
        (lambda value: value.update(label_range=[3.0, -3.0]), "two numbers, the least first"),
        (lambda value: value["examples"][0]["stored"].update(key="../../x"), "is no key of a sample"),
        (lambda value: value["contract"]["modalities"]["audio"].update(width=9), "are needed: extract into"),
        (lambda value: value["examples"][0]["stored"]["num_steps"].update(text=-1), "0 or more"),
        (lambda value: value["examples"][0]["stored"]["num_steps"].update(text=10**12), "is too short for"),
    ],
)
def test_a_description_that_says_something_else_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    save_set(tmp_path)
    value = json.loads((tmp_path / FEATURES).read_text())
    change(value)
    (tmp_path / FEATURES).write_text(json.dumps(value))
    with pytest.raises(DataError, match=message) as raised:
        read_dataset(tmp_path)
    assert "\n" not in str(raised.value)


def test_an_extraction_that_was_cut_off_says_so(tmp_path: Path) -> None:
    save_set(tmp_path)
    (tmp_path / FEATURES).unlink()
    with pytest.raises(DataError, match="an extraction writes it at its end; run it again"):
        read_dataset(tmp_path)
