"""A random process that makes sequences like an extractor's, and its fit to measured ones.

Each sequence is a level of its own (who it is, where it was recorded) plus a few slow factors that all columns
share plus each column's own noise; factors and noise are first-order autoregressive:

    x_t = mean + level + loadings z_t + residual_sd e_t,   z_t = rho z_(t-1) + sqrt(1 - rho^2) n_t, e_t alike

Knows columns by place. Does not know any modality.

Shape suffixes: B sequences, T steps, D columns, R factors, C columns of either kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
Numbers = tuple[float, ...]

MAX_RHO = 0.97
"""A process that forgets more slowly can't be told from a level in clips of 3 s."""


@dataclass(frozen=True)
class Process:
    """Parameters of the process.

    Attributes:
        mean: (D,) of the clips' means.
        level_sd: (D,) standard deviation of the clips' means.
        loadings: (R, D) effect of one standard deviation of each factor.
        factor_rho: (R,) correlation of a factor with itself one step before.
        residual_sd: (D,) of each column's own noise.
        residual_rho: (D,) correlation of that noise with itself one step before.
        low: (D,) least value measured.
        high: (D,) greatest value measured.
    """

    mean: Numbers
    level_sd: Numbers
    loadings: tuple[Numbers, ...]
    factor_rho: Numbers
    residual_sd: Numbers
    residual_rho: Numbers
    low: Numbers
    high: Numbers

    @property
    def within_sd_D(self) -> FloatArray:
        """Standard deviation of each column inside a sequence."""
        loadings_RD = np.array(self.loadings)
        sd_D: FloatArray = np.sqrt(np.square(loadings_RD).sum(axis=0) + np.square(self.residual_sd))
        return sd_D

    def draw(self, level_BD: FloatArray, num_steps: int, rng: np.random.Generator) -> FloatArray:
        """Sequences, (B, T, D).

        Args:
            level_BD: What each sequence has above the mean throughout.
            num_steps: T.
            rng: Advanced.
        """
        num_sequences = len(level_BD)
        factors_BTR = _autoregressive(num_sequences, num_steps, np.array(self.factor_rho), rng)
        noise_BTD = _autoregressive(num_sequences, num_steps, np.array(self.residual_rho), rng)
        moving_BTD = factors_BTR @ np.array(self.loadings) + noise_BTD * np.array(self.residual_sd)
        return np.asarray(moving_BTD + (level_BD + np.array(self.mean))[:, None])


def fit(sequences: Sequence[FloatArray], num_factors: int) -> Process:
    """Moments of measured sequences, each counting alike.

    Args:
        sequences: (T, D) each, T at least 3; at least two.
        num_factors: R: the leading principal components of the standardised columns inside sequences.
    """
    means = np.array([x_TD.mean(axis=0) for x_TD in sequences])
    centred = [x_TD - x_TD.mean(axis=0) for x_TD in sequences]
    pooled = np.concatenate([x_TD / np.sqrt(len(x_TD) * len(centred)) for x_TD in centred])
    covariance_DD = pooled.T @ pooled
    sd_D = np.sqrt(np.maximum(np.diag(covariance_DD), 1e-12))
    values_D, vectors_DD = np.linalg.eigh(covariance_DD / np.outer(sd_D, sd_D))
    # The eigenvector's sign is arbitrary: the largest entry is made positive, so that a fit repeats.
    vectors_DR = vectors_DD[:, ::-1][:, :num_factors]
    vectors_DR = vectors_DR * np.sign(vectors_DR[np.abs(vectors_DR).argmax(axis=0), np.arange(num_factors)])
    loadings_DR = vectors_DR * np.sqrt(np.maximum(values_D[::-1][:num_factors], 0)) * sd_D[:, None]
    residual_D = np.sqrt(np.maximum(sd_D**2 - np.square(loadings_DR).sum(axis=1), 0))
    factors = [x_TD / sd_D @ vectors_DR for x_TD in centred]
    residuals = [x_TD - f_TR @ vectors_DR.T * sd_D for x_TD, f_TR in zip(centred, factors, strict=True)]
    everything = np.concatenate(sequences)
    return Process(
        mean=_numbers(means.mean(axis=0)),
        level_sd=_numbers(means.std(axis=0, ddof=1)),
        loadings=tuple(_numbers(row) for row in loadings_DR.T),
        factor_rho=_numbers(_lag_one(factors)),
        residual_sd=_numbers(residual_D),
        residual_rho=_numbers(_lag_one(residuals)),
        low=_numbers(everything.min(axis=0)),
        high=_numbers(everything.max(axis=0)),
    )


def _autoregressive(
    num_sequences: int, num_steps: int, rho_C: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """(B, T, C) of unit variance, each column with its own correlation from step to step."""
    series_BTC = rng.standard_normal((num_sequences, num_steps, len(rho_C)))
    fresh_C = np.sqrt(1 - rho_C**2)
    for step in range(1, num_steps):
        series_BTC[:, step] = rho_C * series_BTC[:, step - 1] + fresh_C * series_BTC[:, step]
    return series_BTC


def _lag_one(sequences: Sequence[FloatArray]) -> FloatArray:
    products = sum((x_TD[1:] * x_TD[:-1]).sum(axis=0) for x_TD in sequences)
    squares = sum(np.square(x_TD[:-1]).sum(axis=0) for x_TD in sequences)
    rho: FloatArray = np.clip(products / np.maximum(squares, 1e-12), 0.0, MAX_RHO)
    return rho


def _numbers(values: FloatArray) -> Numbers:
    return tuple(float(f"{value:.4g}") for value in values)
