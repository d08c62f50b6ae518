"""From a file's arrays to a split: shapes checked, odd values put right and counted, padding moved to the right.

Files pad on the left, on the right or say nothing; a step of zeros only at either end is padding. Knows arrays. Does
not know any file format.

Shape suffixes: N samples, T steps, D features, K labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import Bools, Floats, Split
from hctdmg.data.errors import DataError

Whole = npt.NDArray[np.int64]


def make_split(
    split: str,
    raw: Mapping[str, Any],
    labels_NK: npt.NDArray[Any],
    ids: Sequence[object] | None,
    warnings: list[str],
    lengths: Mapping[str, npt.NDArray[Any]] | None = None,
    unimodal: Mapping[str, Floats] | None = None,
) -> Split:
    """Build a split.

    Args:
        split: Its name, for messages.
        raw: (N, T, D) of each modality.
        labels_NK: The labels.
        ids: Of the samples; None numbers them.
        warnings: What is put right is added here.
        lengths: (N,) real steps from the left of each modality, where the file says so; 0 is absent.
        unimodal: (N,) labels of each modality on its own.

    Raises:
        DataError: Shapes do not fit, or a value is NaN or infinite.
    """
    num_samples = len(labels_NK)
    _check_finite(split, "labels", np.asarray(labels_NK, np.float64))
    features = {name: _checked(split, name, value, num_samples, warnings) for name, value in raw.items()}
    # Of aligned data all modalities share one clock, and so one stretch of real steps.
    is_aligned = len({x_NTD.shape[1] for x_NTD in features.values()}) == 1 and not lengths
    stretches = {name: _stretch((x_NTD != 0).any(axis=2)) for name, x_NTD in features.items()}
    if is_aligned:
        shared = _stretch(np.any([(x_NTD != 0).any(axis=2) for x_NTD in features.values()], axis=0))
        stretches = {name: _absent_is_empty(shared, own) for name, own in stretches.items()}
    for name, length_N in (lengths or {}).items():
        stretches[name] = _said(split, name, length_N, features[name])
    padded, masks = {}, {}
    for name, x_NTD in features.items():
        padded[name], masks[name] = _to_the_left(x_NTD, *stretches[name])
        num_absent = int((~masks[name].any(axis=1)).sum())
        if num_absent:
            warnings.append(f"{split}: {num_absent} of {num_samples} samples have no {name} (zeros only)")
    num_empty = int((~np.any([mask.any(axis=1) for mask in masks.values()], axis=0)).sum())
    if num_empty:
        warnings.append(
            f"{split}: {num_empty} of {num_samples} samples have no modality at all: leave them out"
        )
    names = _names(split, ids, num_samples)
    return Split(padded, masks, np.asarray(labels_NK, np.float32), names, dict(unimodal or {}))


def _checked(split: str, name: str, value: Any, num_samples: int, warnings: list[str]) -> Floats:
    try:
        x_NTD = np.array(value, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{split}: {name} holds no numbers ({error}): an array (N, T, D) is needed") from None
    if x_NTD.ndim != 3 or len(x_NTD) != num_samples or 0 in x_NTD.shape[1:]:
        raise DataError(
            f"{split}: {name} has shape {x_NTD.shape}; with {num_samples} labels ({num_samples}, T, D) is needed"
        )
    is_minus_infinity = np.isneginf(x_NTD)
    if is_minus_infinity.any():
        # COVAREP's logarithm of silence; MulT's reader takes it as 0.
        warnings.append(f"{split}: {int(is_minus_infinity.sum())} values of {name} are -inf, read as 0")
        x_NTD[is_minus_infinity] = 0.0
    _check_finite(split, name, x_NTD)
    return x_NTD


def _check_finite(split: str, name: str, values: npt.NDArray[Any]) -> None:
    is_bad = ~np.isfinite(values)
    if is_bad.any():
        sample = int(np.argwhere(is_bad)[0][0])
        raise DataError(
            f"{split}: {int(is_bad.sum())} values of {name} are NaN or infinite, the first in sample {sample}: "
            "mend the file"
        )


def _stretch(is_real_NT: Bools) -> tuple[Whole, Whole]:
    """(N,) first real step and (N,) the one after the last; both 0 where there is none."""
    has_any_N = is_real_NT.any(axis=1)
    first_N = is_real_NT.argmax(axis=1)
    after_N = is_real_NT.shape[1] - is_real_NT[:, ::-1].argmax(axis=1)
    return np.where(has_any_N, first_N, 0), np.where(has_any_N, after_N, 0)


def _absent_is_empty(shared: tuple[Whole, Whole], own: tuple[Whole, Whole]) -> tuple[Whole, Whole]:
    is_absent_N = own[1] == 0
    return np.where(is_absent_N, 0, shared[0]), np.where(is_absent_N, 0, shared[1])


def _said(split: str, name: str, length_N: npt.NDArray[Any], x_NTD: Floats) -> tuple[Whole, Whole]:
    given_N = np.asarray(length_N)
    if (
        given_N.shape != (len(x_NTD),)
        or given_N.min(initial=0) < 0
        or given_N.max(initial=0) > x_NTD.shape[1]
    ):
        raise DataError(
            f"{split}: lengths of {name} must be {len(x_NTD)} numbers from 0 to {x_NTD.shape[1]}; "
            f"shape {given_N.shape}, greatest {given_N.max(initial=0)}"
        )
    after_N = given_N.astype(np.int64)
    # Files give an absent modality the length 1 and zeros.
    after_N[~(x_NTD != 0).any(axis=(1, 2))] = 0
    return np.zeros_like(after_N), after_N


def _to_the_left(x_NTD: Floats, first_N: Whole, after_N: Whole) -> tuple[Floats, Bools]:
    """Each sample's real steps at the front, cut to the longest of all."""
    length_N = after_N - first_N
    step_T = np.arange(max(1, int(length_N.max(initial=0))))
    mask_NT = step_T[None] < length_N[:, None]
    source_NT = np.where(mask_NT, first_N[:, None] + step_T[None], 0)
    return np.take_along_axis(x_NTD, source_NT[..., None], axis=1) * mask_NT[..., None], mask_NT


def _names(split: str, ids: Sequence[object] | None, num_samples: int) -> tuple[str, ...]:
    if ids is None:
        return tuple(str(number) for number in range(num_samples))
    if len(ids) != num_samples:
        raise DataError(f"{split}: {len(ids)} ids for {num_samples} labels: each sample needs one")
    return tuple(_name(one) for one in ids)


def _name(value: object) -> str:
    """An id as text: MOSI's are bytes, MulT's are rows of several parts."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray | list | tuple):
        return "/".join(_name(part) for part in np.asarray(value, object).ravel())
    return str(value)
