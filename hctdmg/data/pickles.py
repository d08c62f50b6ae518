"""Reads a pickle that holds numpy arrays and plain containers, and refuses every other one.

A pickle is a program; data sets come from strangers. What may be called is a short list, none of which does
anything but make an array, and nothing that is made may be given a state but what numpy gives it itself: a type that
lies about what it holds would have memory read that is not the array's. Knows pickles. Does not know what is in them.
"""

import codecs
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hctdmg.data.errors import DataError


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How pickles of protocol 2 write bytes; no other codec is admitted, for some expand without bound."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it calls the codec {encoding!r}")
    return codecs.encode(text, "latin1")


def _empty_array(kind: object, shape: object, code: object) -> Any:
    """What numpy begins every array with; shape and type are its state, which comes after."""
    if (kind, shape, code) not in ((_ndarray, (0,), b"b"), (_ndarray, (0,), "b")):
        raise pickle.UnpicklingError(f"it makes an array as numpy does not: {kind}, {shape}, {code!r}")
    make: Any = np.zeros(1).__reduce__()[0]
    return make(np.ndarray, (0,), b"b")


def _ndarray(*_: object) -> None:
    """In place of the class, which is only ever named: whoever could call it would choose an array's memory."""
    raise pickle.UnpicklingError("it calls numpy.ndarray")


_SCALAR = np.float64(0).__reduce__()[0]
_BUFFER = np.zeros(1).__reduce_ex__(5)[0]

# numpy 1 and 2 have these under different names.
ADMITTED: dict[tuple[str, str], Any] = {
    **{
        (module, "_reconstruct"): _empty_array
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    },
    **{(module, "scalar"): _SCALAR for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "_frombuffer"): _BUFFER for module in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): dict,
}


_Unpickler: Any = pickle._Unpickler
"""In Python: the one in C lets nobody look at states."""


class _ArraysOnly(_Unpickler):  # type: ignore[misc]
    """Finds nothing but what is admitted."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def load_build(self) -> None:
        """Give the last thing made its state: arrays, whose data numpy checks, and types, which must stay theirs."""
        state, made = self.stack[-1], self.stack[-2]
        if isinstance(made, np.dtype):
            own = made.__reduce__()[2]
            is_own = type(state) is tuple and len(state) == len(own) and state[1] in ("<", ">", "|", "=")
            if not is_own or (state[0], *state[2:]) != (own[0], *own[2:]):
                raise pickle.UnpicklingError(f"its type {made.str} has the state {state!r}")
        elif type(made) is not np.ndarray:
            raise pickle.UnpicklingError(f"it gives a state to a {type(made).__name__}")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

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
