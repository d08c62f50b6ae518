from pathlib import Path

import numpy as np
import pytest

from hctdmg.baselines.registry import NAMES
from hctdmg.checkpoint import MANIFEST, WEIGHTS, load_checkpoint
from hctdmg.manifest import CheckpointError
from hctdmg.training.build import OWN, build_network, modalities_of, num_outputs, num_steps
from hctdmg.training.network import predict_split, standardise
from hctdmg.training.peer_checkpoint import PeerManifest, is_peer, load_peer, save_peer
from tests.small_data import small_world


def save(folder: Path, name: str) -> np.ndarray:
    """A peer with random weights; what it says."""
    data = small_world()
    network = build_network(name, data, seed=3)
    standardise(network, data.splits["train"])
    manifest = PeerManifest(name, modalities_of(data, {}), num_outputs(data), num_steps(data), {})
    save_peer(folder, network, manifest)
    return predict_split(network, data.splits["test"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != OWN])
def test_every_peer_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    said_NK = save(tmp_path, name)
    assert is_peer(tmp_path)
    network, manifest, _ = load_peer(tmp_path)
    assert manifest.model == name
    np.testing.assert_array_equal(predict_split(network, small_world().splits["test"]), said_NK)


def test_what_is_damaged_or_is_to_be_served_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "ef-lstm")
    with pytest.raises(CheckpointError, match="holds 'ef-lstm', a model to compare HCT-DMG with"):
        load_checkpoint(str(tmp_path))
    weights, manifest = (tmp_path / WEIGHTS).read_bytes(), (tmp_path / MANIFEST).read_text()
    (tmp_path / WEIGHTS).write_bytes(weights[:-4])
    with pytest.raises(CheckpointError, match="one of them is damaged"):
        load_peer(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(weights)
    for bad in (manifest.replace("ef-lstm", "no-lstm"), manifest.replace('"width": 6', '"width": 7'), "{"):
        (tmp_path / MANIFEST).write_text(bad)
        with pytest.raises(CheckpointError):
            load_peer(tmp_path)
