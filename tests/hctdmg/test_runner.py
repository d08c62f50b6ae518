"""Whatever the device, the precision and the way of running: the plain model's numbers, within the stated tolerance."""

import copy
import dataclasses
import shutil

import pytest
import torch

from hctdmg.batch import Batch, collate
from hctdmg.checkpoint import load_checkpoint
from hctdmg.graphs import Graphs
from hctdmg.layers import Block
from hctdmg.model import HctDmg, Output
from hctdmg.runner import TOLERANCE, Execution, Precision, Runner
from tests.hctdmg.samples import make_model, make_sample, small_config

ROWS = (
    ((3, 7, 5), (3, 7, 4), (2, 7, 5)),
    ((3, 0, 5), (4, 0, 5)),
    ((0, 9, 0),),
    # Not of one bucket: their roles differ.
    ((1, 0, 0), (0, 2, 3), (4, 4, 4)),
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
CPU: tuple[tuple[str, Precision, Execution], ...] = (("cpu", "fp32", "eager"), ("cpu", "bf16", "eager"))
CUDA: tuple[tuple[str, Precision, Execution], ...] = tuple(
    ("cuda", precision, execution)
    for precision in ("fp32", "bf16")
    for execution in ("eager", "compile", "graphs")
)


def batches(model: HctDmg) -> list[Batch]:
    config = model.config
    return [
        collate(
            [
                make_sample(config, dict(zip(config.names, row, strict=True)), seed)
                for seed, row in enumerate(rows)
            ],
            config.widths,
        )
        for rows in ROWS
    ]


def assert_as_plain(model: HctDmg, device: str, precision: Precision, execution: Execution) -> None:
    given = batches(model)
    with torch.inference_mode():
        wanted: list[Output] = [model(batch) for batch in given]
    runner = Runner(copy.deepcopy(model), device, precision, execution)
    runner.warm_up(2)
    for _ in range(2):  # what is kept from the first time is used the second
        found = runner.run(given)
        for ours, plain in zip(found, wanted, strict=True):
            tolerance = TOLERANCE[precision]
            torch.testing.assert_close(
                ours.prediction_BK, plain.prediction_BK, atol=tolerance, rtol=tolerance
            )
            assert ours.order_BN.tolist() == plain.order_BN.tolist()
            torch.testing.assert_close(ours.weights_N, plain.weights_N)
            for name, x_BK in plain.unimodal.items():
                torch.testing.assert_close(ours.unimodal[name], x_BK, atol=1e-4, rtol=1e-4)
            assert ours.prediction_BK.dtype == torch.float32
            assert ours.prediction_BK.device.type == "cpu"


@pytest.mark.parametrize(("device", "precision", "execution"), CPU)
def test_it_says_what_the_plain_model_says(device: str, precision: Precision, execution: Execution) -> None:
    assert_as_plain(make_model(small_config(), [0.5, 1.5, 1.0]), device, precision, execution)
    assert_as_plain(load_checkpoint("hct-dmg-starter").model, device, precision, execution)


@needs_cuda
@pytest.mark.parametrize(("device", "precision", "execution"), CUDA)
def test_so_it_does_on_a_gpu(device: str, precision: Precision, execution: Execution) -> None:
    assert_as_plain(make_model(small_config(), [0.5, 1.5, 1.0]), device, precision, execution)
    assert_as_plain(load_checkpoint("hct-dmg-starter").model, device, precision, execution)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_it_says_the_same() -> None:
    """One block, one kind of batch: the compiler takes many seconds for each."""
    config = dataclasses.replace(small_config(2), num_layers_stage2=1, num_layers_self=1)
    model = make_model(config)
    batch = collate([make_sample(config, {"text": 3, "audio": 7}, seed) for seed in (0, 1)], config.widths)
    with torch.inference_mode():
        wanted = model(batch).prediction_BK
    runner = Runner(model, execution="compile")
    for _ in range(2):
        (found,) = runner.run([batch])
        torch.testing.assert_close(
            found.prediction_BK, wanted, atol=TOLERANCE["fp32"], rtol=TOLERANCE["fp32"]
        )
    assert all(one._compiled_call_impl for one in model.modules() if isinstance(one, Block))


def test_lower_precision_is_really_lower_and_leaves_the_readings_alone() -> None:
    model = make_model(small_config())
    (batch, *_) = batches(model)
    (plain,) = Runner(copy.deepcopy(model)).run([batch])
    (lower,) = Runner(copy.deepcopy(model), precision="bf16").run([batch])
    assert bool((plain.prediction_BK != lower.prediction_BK).all())
    for name, x_BK in plain.unimodal.items():
        assert x_BK.equal(lower.unimodal[name])


def test_graphs_need_cuda() -> None:
    with pytest.raises(ValueError, match=r"'graphs' on device 'cpu'.*eager"):
        Runner(make_model(small_config()), "cpu", execution="graphs")


def test_known_roles_give_what_a_look_at_the_data_gives() -> None:
    model = make_model(small_config(), [0.0, 2.0, 1.0])
    sample = make_sample(model.config, {"text": 3, "vision": 2})
    batch = collate([sample, sample], model.config.widths)
    with torch.inference_mode():
        looked = model(batch)
        told = model(batch, order=tuple(looked.order_BN[0].tolist()))
    assert told.prediction_BK.equal(looked.prediction_BK)
    assert told.order_BN.tolist() == looked.order_BN.tolist() == [[2, 1, 0]] * 2


@needs_cuda
def test_a_graph_serves_every_batch_that_fits_its_shape() -> None:
    model = make_model(small_config()).cuda()
    graphs = Graphs(model)
    for num_steps in (3, 5, 8):
        sample = make_sample(model.config, dict.fromkeys(model.config.names, num_steps), num_steps)
        batch = collate([sample] * 3, model.config.widths).to("cuda")
        with torch.inference_mode():
            wanted = model(batch).prediction_BK
            torch.testing.assert_close(graphs(batch, (0, 1, 2)).prediction_BK, wanted, atol=1e-5, rtol=1e-5)
    assert len(graphs._graphs) == 1
