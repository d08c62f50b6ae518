"""A world whose truth is known: latent affect, a view of it in each modality, and some that contradict.

For each sample:

    affect                   y ~ U(-3, 3), the label
    contradiction            with probability `conflict_share` one modality k shows the opposite:
                             a_k = -y, and a_m = y for all others; a_m is the label of m on its own
    length                   duration tau ~ U(least_s, most_s); m has round(tau * rate_m) steps,
                             t_j = (j + 1/2) / rate_m
    course                   e(t) = 2 sin^2(pi t / tau) on [0, tau], mean 1; m shows it later, as e(t - delay_m)
    nuisance                 n_m(t), `num_nuisances` independent AR(1) processes of unit variance, correlation 0.9
                             over 0.1 s, the same for all rates
    features                 x_m(t) = tanh(M_m [g_m * a_m / 3 * e(t - delay_m), n_m(t)]) + s_m * eps(t), eps ~ N(0, 1)
    absence                  m is missing with probability `missing_share`; whoever would lack all keeps the first

g_m is the view's informativeness, s_m its noise, M_m a matrix (D, 1 + num_nuisances) with entries N(0, 1) that the
world's seed fixes. A shift of size u in [0, 1] turns it towards another such matrix: cos(u pi/2) M + sin(u pi/2) M'.

All chance is drawn before anything is decided from it, so that the same draws can be shown again with one modality's
polarity flipped (`render(..., flipped=)`), or with one modality's noise drawn anew (`redraw`). Knows this model alone.

Shape suffixes: N samples, T steps, D features, Q nuisances.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hctdmg.data.dataset import Bools, Dataset, Floats, Split

Numbers = npt.NDArray[np.float64]

AFFECT_LIMIT = 3.0
NUISANCE_CORRELATION = 0.9
NUISANCE_TIME_S = 0.1
"""Over which nuisances correlate as above: they outlast a step, as a voice or a face does."""


@dataclass(frozen=True)
class View:
    """One modality of the world.

    Attributes:
        name: Of the modality.
        width: D.
        rate_hz: Steps a second.
        delay_s: How much later than the affect its course is.
        informativeness: g; 0 says nothing.
        noise: s, the standard deviation of what is added to each feature.
        missing_share: Of the samples, in [0, 1).
    """

    name: str
    width: int
    rate_hz: float
    delay_s: float = 0.0
    informativeness: float = 1.0
    noise: float = 0.5
    missing_share: float = 0.0


@dataclass(frozen=True)
class World:
    """Everything that is fixed, but for the samples' chance.

    Attributes:
        views: The modalities.
        conflict_share: Of the samples.
        contradicting: Which modality contradicts; None lets chance choose.
        shift: How far the features are turned away from those of the world without shift, in [0, 1].
        num_nuisances: Q.
        least_s: Shortest sample.
        most_s: Longest sample.
        seed: Of the matrices.
    """

    views: tuple[View, ...]
    conflict_share: float = 0.2
    contradicting: str | None = None
    shift: float = 0.0
    num_nuisances: int = 4
    least_s: float = 3.0
    most_s: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        names = [view.name for view in self.views]
        if (
            not 0 <= self.conflict_share <= 1
            or not 0 <= self.shift <= 1
            or not 0 < self.least_s <= self.most_s
        ):
            raise ValueError(f"{self}: shares and shift lie in [0, 1], 0 < least_s <= most_s")
        if len(set(names)) != len(names) or not names or self.contradicting not in (None, *names):
            raise ValueError(
                f"views are {names}, contradicting is {self.contradicting!r}: it must be one of them"
            )

    def changed(self, name: str, **changes: float) -> "World":
        """The same world, one view changed."""
        views = tuple(
            dataclasses.replace(view, **changes) if view.name == name else view  # type: ignore[arg-type]
            for view in self.views
        )
        return dataclasses.replace(self, views=views)


DEFAULT_WORLD = World(
    (
        View("text", width=32, rate_hz=2.5, delay_s=0.0, informativeness=1.0, noise=0.4),
        View("audio", width=24, rate_hz=10.0, delay_s=0.2, informativeness=0.35, noise=0.9),
        View("vision", width=20, rate_hz=5.0, delay_s=0.4, informativeness=0.6, noise=0.7),
    )
)
"""Words say most, faces less, voices least, as a linear reader of the mean features finds on every seed (a test); more
steps average noise out, so informativeness alone would not order them. Fixed before any model was trained on it."""


@dataclass(frozen=True)
class Draws:
    """The chance of a number of samples.

    Attributes:
        affect_N: y.
        duration_N: In seconds.
        conflict_N: Uniform in [0, 1); below the world's share there is a contradiction.
        chosen_N: Uniform in [0, 1); which modality it is.
        absent: (N,) uniform, of each modality.
        innovations: (N, T, Q) standard normal, of each modality's nuisances.
        errors: (N, T, D) standard normal, of each modality.
    """

    affect_N: Numbers
    duration_N: Numbers
    conflict_N: Numbers
    chosen_N: Numbers
    absent: Mapping[str, Numbers]
    innovations: Mapping[str, Numbers]
    errors: Mapping[str, Numbers]


@dataclass(frozen=True)
class Scenes:
    """Samples and the truth about them.

    Attributes:
        split: As every data set's; its unimodal labels are what each modality shows.
        contradicting_N: Index of the view that contradicts; -1 where none does, or where it is absent or alone, so
            that nobody could see it.
    """

    split: Split
    contradicting_N: npt.NDArray[np.int64]


def draw(world: World, num_samples: int, seed: int) -> Draws:
    """Draw the chance of samples.

    Args:
        world: How many steps and features there are.
        num_samples: N, at least 1.
        seed: Another seed gives other samples of the same world.
    """
    rng = np.random.default_rng([seed, 1])
    return Draws(
        affect_N=rng.uniform(-AFFECT_LIMIT, AFFECT_LIMIT, num_samples),
        duration_N=rng.uniform(world.least_s, world.most_s, num_samples),
        conflict_N=rng.uniform(size=num_samples),
        chosen_N=rng.uniform(size=num_samples),
        absent={view.name: rng.uniform(size=num_samples) for view in world.views},
        innovations={
            view.name: rng.normal(size=(num_samples, _num_steps(world, view), world.num_nuisances))
            for view in world.views
        },
        errors={
            view.name: rng.normal(size=(num_samples, _num_steps(world, view), view.width))
            for view in world.views
        },
    )


def redraw(draws: Draws, name: str, seed: int) -> Draws:
    """The same samples, the nuisances and errors of one modality drawn anew: its affect stays."""
    rng = np.random.default_rng([seed, 2])
    fresh = rng.normal(size=draws.innovations[name].shape), rng.normal(size=draws.errors[name].shape)
    return dataclasses.replace(
        draws,
        innovations={**draws.innovations, name: fresh[0]},
        errors={**draws.errors, name: fresh[1]},
    )


def render(world: World, draws: Draws, flipped: str | None = None) -> Scenes:
    """Make samples of chance.

    Args:
        world: The world.
        draws: Of this world's shape.
        flipped: A modality whose polarity is turned round in every sample; nothing else changes.
    """
    num_samples = len(draws.affect_N)
    absent = _absent(world, draws)
    opposed_N = _opposed(world, draws)
    features: dict[str, Floats] = {}
    masks: dict[str, Bools] = {}
    shown: dict[str, Floats] = {}
    for index, view in enumerate(world.views):
        sign_N = np.where(opposed_N == index, -1.0, 1.0) * (-1.0 if view.name == flipped else 1.0)
        shown_N = draws.affect_N * sign_N
        mask_NT = _mask(world, view, draws.duration_N) & ~absent[view.name][:, None]
        x_NTD = _features(world, index, draws, shown_N) * mask_NT[..., None]
        features[view.name], masks[view.name] = x_NTD.astype(np.float32), mask_NT
        shown[view.name] = shown_N.astype(np.float32)
    labels_NK = draws.affect_N[:, None].astype(np.float32)
    ids = tuple(str(number) for number in range(num_samples))
    split = Split(features, masks, labels_NK, ids, shown)
    return Scenes(split, np.where(_is_seen(split, opposed_N), opposed_N, -1))


def make_dataset(world: World, num_train: int, num_valid: int, num_test: int, seed: int) -> Dataset:
    """A data set of the world, three disjoint splits."""
    sizes = {"train": num_train, "valid": num_valid, "test": num_test}
    splits = {
        name: render(world, draw(world, number, seed * 3 + offset)).split
        for offset, (name, number) in enumerate(sizes.items())
    }
    return Dataset("synthetic", splits, "regression")


def _num_steps(world: World, view: View) -> int:
    return max(1, round(world.most_s * view.rate_hz))


def _opposed(world: World, draws: Draws) -> npt.NDArray[np.int64]:
    """Index of the view that shows the opposite, absent or not; -1 where none does."""
    names = [view.name for view in world.views]
    if world.contradicting is None:
        chosen_N = np.floor(draws.chosen_N * len(names)).astype(np.int64)
    else:
        chosen_N = np.full(len(draws.chosen_N), names.index(world.contradicting), np.int64)
    return np.where(draws.conflict_N < world.conflict_share, chosen_N, -1)


def _is_seen(split: Split, opposed_N: npt.NDArray[np.int64]) -> Bools:
    present_NM = split.present_NM
    rows_N = np.arange(len(opposed_N))
    is_seen_N: Bools = (opposed_N >= 0) & present_NM[rows_N, opposed_N] & (present_NM.sum(axis=1) > 1)
    return is_seen_N


def _absent(world: World, draws: Draws) -> dict[str, Bools]:
    absent = {view.name: draws.absent[view.name] < view.missing_share for view in world.views}
    first = world.views[0].name
    absent[first] = absent[first] & ~np.all(list(absent.values()), axis=0)
    return absent


def _mask(world: World, view: View, duration_N: Numbers) -> Bools:
    length_N = np.maximum(1, np.round(duration_N * view.rate_hz))
    return np.arange(_num_steps(world, view))[None] < length_N[:, None]


def _features(world: World, index: int, draws: Draws, shown_N: Numbers) -> Numbers:
    view = world.views[index]
    step_T = (np.arange(_num_steps(world, view)) + 0.5) / view.rate_hz
    since_NT = (step_T[None] - view.delay_s).clip(0) / draws.duration_N[:, None]
    course_NT = 2 * np.sin(math.pi * since_NT.clip(0, 1)) ** 2
    affect_NT = view.informativeness * shown_N[:, None] / AFFECT_LIMIT * course_NT
    latent_NTQ = np.concatenate(
        [affect_NT[..., None], _nuisances(view, draws.innovations[view.name])], axis=2
    )
    return np.tanh(latent_NTQ @ _matrix(world, index).T) + view.noise * draws.errors[view.name]


def _nuisances(view: View, innovations_NTQ: Numbers) -> Numbers:
    correlation = NUISANCE_CORRELATION ** (1 / (view.rate_hz * NUISANCE_TIME_S))
    nuisances_NTQ = np.empty_like(innovations_NTQ)
    nuisances_NTQ[:, 0] = innovations_NTQ[:, 0]
    for step in range(1, innovations_NTQ.shape[1]):
        nuisances_NTQ[:, step] = (
            correlation * nuisances_NTQ[:, step - 1]
            + math.sqrt(1 - correlation**2) * innovations_NTQ[:, step]
        )
    return nuisances_NTQ


def _matrix(world: World, index: int) -> Numbers:
    rng = np.random.default_rng([world.seed, 0, index])
    here, there = rng.normal(size=(2, world.views[index].width, 1 + world.num_nuisances))
    turned: Numbers = math.cos(world.shift * math.pi / 2) * here + math.sin(world.shift * math.pi / 2) * there
    return turned
