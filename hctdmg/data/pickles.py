"""Reads a pickle that holds numpy arrays and plain containers, and refuses every other one.

A pickle is a program; data sets come from strangers. What may be called is a short list, none of which does
anything but make an array. Knows pickles. Does not know what is in them.
"""

import codecs
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from hctdmg.data.errors import DataError


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 write bytes; no other codec is admitted, for some expand without bound."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it calls the codec {encoding!r}")
    return codecs.encode(text, "latin1")


_ARRAY = np.zeros(1).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]
_BUFFER = np.zeros(1).__reduce_ex__(5)[0]

# numpy 1 and 2 have these under different names.
ADMITTED: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _ARRAY for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "scalar"): _SCALAR for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "_frombuffer"): _BUFFER for module in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): dict,
}


class _ArraysOnly(pickle.Unpickler):
    """Finds nothing but what is admitted."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle calls by this name."""
        try:
            return ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it calls {module}.{name}") from None


def load_arrays(path: Path) -> Any:
    """What a pickle of numpy arrays and plain containers holds.

    Raises:
        DataError: It can't be read, is damaged, or asks for anything else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    # Python 2's strings: first as what they mostly are.
    for encoding in ("ASCII", "latin1"):
        try:
            return _ArraysOnly(io.BytesIO(content), encoding=encoding).load()
        except UnicodeDecodeError:
            continue
        except pickle.UnpicklingError as error:
            raise DataError(
                f"{path}: is not a pickle of numpy arrays ({error}): only arrays and plain containers are read"
            ) from None
        except Exception as error:  # noqa: BLE001 - a damaged pickle raises whatever it stumbles over
            raise DataError(f"{path}: is damaged ({type(error).__name__}: {error})") from None
    raise DataError(f"{path}: is damaged: its text is in no known encoding")
