"""MFN's HDF5 files of MOSI: a folder with `X_{train,valid,test}.h5` and `y_{train,valid,test}.h5` (Zadeh et al. 2018).

X is (N, 20, 325): 300 of GloVe, 5 of COVAREP, 20 of Facet at each word; y is (N,). Each file has one array, `data`.
Knows this format alone; needs h5py (extra `train`).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import SPLITS, Dataset, check_widths
from hctdmg.data.errors import DataError
from hctdmg.data.padding import make_split

BOUNDS = {"text": (0, 300), "audio": (300, 305), "vision": (305, 325)}


def is_mfn(folder: Path) -> bool:
    """Whether it looks like this format."""
    return (folder / "X_train.h5").is_file()


def read_mfn(folder: Path) -> Dataset:
    """Read a folder.

    Raises:
        DataError: A file is missing or not as described above.
    """
    warnings: list[str] = []
    splits = {}
    for split in SPLITS:
        x_NTD = _array(folder / f"X_{split}.h5")
        labels_N = _array(folder / f"y_{split}.h5").reshape(-1)
        if x_NTD.ndim != 3 or x_NTD.shape[2] != BOUNDS["vision"][1]:
            raise DataError(f"{split}: X has shape {x_NTD.shape}, (N, T, {BOUNDS['vision'][1]}) is needed")
        raw = {name: x_NTD[:, :, begin:end] for name, (begin, end) in BOUNDS.items()}
        splits[split] = make_split(split, raw, labels_N[:, None], None, warnings)
    check_widths(splits)
    return Dataset("mfn", splits, "regression", warnings=tuple(warnings))


def _array(path: Path) -> npt.NDArray[np.float32]:
    try:
        import h5py
    except ImportError:
        raise DataError("MFN's files need h5py: pip install 'hctdmg[train]'") from None
    try:
        with h5py.File(path) as file:
            return np.asarray(file["data"], np.float32)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path.name} can't be read as MFN's HDF5 ({error})") from None
