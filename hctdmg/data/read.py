"""Opens a data set of any known format. Knows which formats there are. Does not know what they look like inside."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hctdmg.data.dataset import Dataset, check_labels
from hctdmg.data.errors import DataError
from hctdmg.data.mfn import is_mfn, read_mfn
from hctdmg.data.mmsa import is_mmsa, read_mmsa
from hctdmg.data.mult import is_mult, read_mult
from hctdmg.data.multibench import is_multibench, read_multibench
from hctdmg.data.own import is_own, read_own
from hctdmg.data.pickles import load_arrays

Content = TypeVar("Content")
Reader = Callable[[Mapping[str, Any]], Dataset]

PICKLES: dict[str, tuple[Callable[[Mapping[str, Any]], bool], Reader]] = {
    # The more particular first: what MulT's reader knows a file by, others have too.
    "mmsa": (is_mmsa, read_mmsa),
    "multibench": (is_multibench, read_multibench),
    "mult": (is_mult, read_mult),
}


def read_dataset(path: Path) -> Dataset:
    """Read a pickle of MulT, MMSA or MultiBench, MFN's folder or our own; the format is told from the content.

    Raises:
        DataError: It is none of them, or damaged.
    """
    if path.is_dir():
        if is_own(path):
            return _checked(path, read_own(path))
        if is_mfn(path):
            return _checked(path, _named(path, read_mfn, path))
        raise DataError(
            f"{path}: holds neither features.json nor X_train.h5: give a folder that `hctdmg extract` filled, one of "
            "MFN's files, or a pickle"
        )
    content = load_arrays(path)
    if isinstance(content, Mapping):
        for is_format, read in PICKLES.values():
            if is_format(content):
                return _checked(path, _named(path, read, content))
    raise DataError(f"{path}: is none of the known formats ({', '.join(PICKLES)}, mfn): see docs/data.md")


def _named(path: Path, read: Callable[[Content], Dataset], content: Content) -> Dataset:
    try:
        return read(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _checked(path: Path, data: Dataset) -> Dataset:
    return _named(path, check_labels, data)
