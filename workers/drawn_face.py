"""A face painted with numpy: shaded enough for a face detector, with a mouth that smiles, rests or speaks.

Knows pixels. Does not know clips, sound or any detector. Lengths are in half head heights ("heads"), so that
a face can be painted at any size: u to the right and v downwards from the middle of the head.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.floating]
"""(H, W): one number for each pixel."""
Image = npt.NDArray[np.floating]
"""(H, W, 3): red, green, blue in [0, 255]."""
Colour = tuple[int, int, int]

HEAD_HEIGHT = 0.36
"""Half a head over the picture's height."""
EYE_U, EYE_V = 0.31, -0.16
MOUTH_V = 0.50


@dataclass(frozen=True)
class Look:
    """What a person keeps while speaking.

    Attributes:
        skin: Colour of the lit skin.
        hair: Colour of hair and brows.
        shirt: Colour of the shoulders.
        backdrop: Colour of the wall.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    backdrop: Colour


@dataclass(frozen=True)
class Expression:
    """What changes from frame to frame, each in [0, 1].

    Attributes:
        smile: 0 at rest, 1 broad, with teeth.
        opening: 0 closed, 1 the widest that speech opens the mouth.
        blink: 0 eyes open, 1 closed.
    """

    smile: float = 0.0
    opening: float = 0.0
    blink: float = 0.0


@dataclass(frozen=True)
class Grid:
    """Where each pixel is, in heads, and how large it is."""

    u: Field
    v: Field
    pixel: float

    def ellipse(self, u: float, v: float, width: float, height: float, soft: float = 0.0) -> Field:
        """Coverage of an ellipse with the given centre and half axes; its edge is about two pixels soft."""
        radius = np.hypot((self.u - u) / width, (self.v - v) / height)
        return below((radius - 1) * min(width, height), max(soft, 0.5 * self.pixel))

    def glow(self, u: float, v: float, width: float, height: float) -> Field:
        """A Gaussian spot, 1 in its centre."""
        spot: Field = np.exp(-(((self.u - u) / width) ** 2) - ((self.v - v) / height) ** 2)
        return spot


def draw_face(width_px: int, height_px: int, look: Look, expression: Expression) -> npt.NDArray[np.uint8]:
    """Paint head and shoulders.

    Returns:
        (H, W, 3) red, green, blue.
    """
    grid = _grid(width_px, height_px)
    image = _wall_and_shoulders(grid, look)
    head = grid.ellipse(0, 0, 0.76, 1.0, grid.pixel)
    image = _head(image, grid, look, head)
    for side in (-1, 1):
        image = _eye(image, grid, look, side, expression, head)
    image = _nose(image, grid, head)
    image = _mouth(image, grid, expression, head)
    image = _smile_lines(image, grid, expression.smile, head)
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_wall(width_px: int, height_px: int, look: Look) -> npt.NDArray[np.uint8]:
    """Paint the same place with nobody in it: a wall with a picture on it.

    Returns:
        (H, W, 3) red, green, blue.
    """
    grid = _grid(width_px, height_px)
    image = _wall(grid, look)
    frame = below(np.maximum(np.abs(grid.u) - 0.9, np.abs(grid.v) - 0.6), grid.pixel)
    inside = below(np.maximum(np.abs(grid.u) - 0.82, np.abs(grid.v) - 0.52), grid.pixel)
    image = over(over(image, (96, 72, 50), frame), (196, 208, 196), inside)
    hills = below(0.18 + 0.16 * np.sin(2.3 * grid.u + 0.6) - grid.v, 0.02) * inside
    return np.clip(over(image, (112, 140, 104), hills), 0, 255).astype(np.uint8)


def over(image: Image, colour: Colour, coverage: Field) -> Image:
    """Paint a colour where coverage is 1, nothing where it is 0."""
    alpha = coverage[..., None]
    painted: Image = image * (1 - alpha) + np.asarray(colour, np.float32) * alpha
    return painted


def darker(image: Image, amount: Field) -> Image:
    """Take the given share of the light away."""
    shaded: Image = image * (1 - amount)[..., None]
    return shaded


def lighter(image: Image, amount: Field) -> Image:
    """Go the given share of the way to white."""
    lit: Image = image + (255 - image) * amount[..., None]
    return lit


def below(distance: Field, soft: float) -> Field:
    """1 where the distance is negative, 0 where it is positive, with a soft edge (a logistic step)."""
    step: Field = 1 / (1 + np.exp(np.clip(distance / soft, -40, 40)))
    return step


def _grid(width_px: int, height_px: int) -> Grid:
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    head_px = HEAD_HEIGHT * height_px
    return Grid((x - width_px / 2) / head_px, (y - height_px / 2) / head_px, 1 / head_px)


def _wall(grid: Grid, look: Look) -> Image:
    light = 0.97 - 0.08 * grid.v
    wall: Image = light[..., None] * np.asarray(look.backdrop, np.float32)
    return wall


def _wall_and_shoulders(grid: Grid, look: Look) -> Image:
    image = over(_wall(grid, look), look.shirt, grid.ellipse(0, 2.15, 1.75, 1.05, grid.pixel))
    neck = below(np.maximum(np.abs(grid.u) - 0.36, np.abs(grid.v - 0.95) - 0.4), 2 * grid.pixel)
    shadowed = (int(look.skin[0] * 0.72), int(look.skin[1] * 0.72), int(look.skin[2] * 0.72))
    return over(image, shadowed, neck)


def _head(image: Image, grid: Grid, look: Look, head: Field) -> Image:
    """An ellipsoid lit from the front and above, with hair behind it and over the forehead."""
    facing = np.sqrt(np.clip(1 - (grid.u / 0.76) ** 2 - grid.v**2, 0, 1))
    light = 0.50 + 0.56 * facing - 0.10 * grid.v - 0.06 * grid.u
    skin: Image = light[..., None] * np.asarray(look.skin, np.float32)
    image = over(image, look.hair, grid.ellipse(0, -0.28, 0.90, 0.98, grid.pixel))
    image = image * (1 - head)[..., None] + skin * head[..., None]
    fringe = below(grid.v + 0.62 - 0.10 * np.cos(3 * grid.u) + 0.05 * np.sin(9 * grid.u), 0.03)
    # As far as the hair behind reaches, so that no rim of skin shows between the two.
    return over(image, look.hair, fringe * grid.ellipse(0, -0.28, 0.90, 0.98, grid.pixel))


def _eye(image: Image, grid: Grid, look: Look, side: int, expression: Expression, head: Field) -> Image:
    u = side * EYE_U
    image = darker(image, 0.42 * head * grid.glow(u, EYE_V, 0.20, 0.13))
    image = lighter(image, 0.16 * head * grid.glow(u, 0.26, 0.20, 0.16))
    image = over(image, look.hair, 0.9 * _brow(grid, side))
    height = 0.085 * (1 - 0.18 * expression.smile)
    white = grid.ellipse(u, EYE_V, 0.145, height) * (1 - expression.blink)
    image = over(image, (232, 230, 226), white)
    image = over(image, (70, 48, 32), white * grid.ellipse(u, EYE_V, 0.075, 0.075))
    image = over(image, (15, 12, 10), white * grid.ellipse(u, EYE_V, 0.035, 0.035))
    image = over(image, (250, 250, 250), white * grid.ellipse(u - 0.025, EYE_V - 0.03, 0.016, 0.016))
    rim = np.abs(np.hypot((grid.u - u) / 0.15, (grid.v - EYE_V) / (height + 0.01)) - 1) * 0.1
    lid = below(rim - 0.012, 0.012) * below(grid.v - EYE_V - 0.02, 0.02)
    image = over(image, (45, 28, 22), 0.85 * (1 - 0.8 * expression.blink) * lid)
    closed = np.abs(grid.v - EYE_V - 0.05 + 1.8 * (grid.u - u) ** 2) - 0.008
    lashes = below(closed, 0.012) * below(np.abs(grid.u - u) - 0.14, 0.012)
    return over(image, (45, 28, 22), 0.9 * expression.blink * lashes)


def _brow(grid: Grid, side: int) -> Field:
    along = grid.u - side * (EYE_U + 0.01)
    middle = -0.36 - 0.05 * np.cos(4 * along)
    thickness = 0.035 * (1 - 0.5 * np.clip(side * along / 0.2, -1, 1) ** 2)
    return below(np.abs(grid.v - middle) - thickness, 0.018) * below(np.abs(along) - 0.19, 0.03)


def _nose(image: Image, grid: Grid, head: Field) -> Image:
    for side in (-1, 1):
        image = darker(image, 0.35 * head * grid.glow(side * 0.135, 0.20, 0.05, 0.06))
        image = darker(image, 0.14 * head * grid.glow(side * 0.10, -0.05, 0.045, 0.22))
    image = lighter(image, 0.25 * head * grid.glow(0, 0.0, 0.06, 0.25))
    image = lighter(image, 0.22 * head * grid.glow(0, 0.17, 0.08, 0.08))
    image = darker(image, 0.35 * head * grid.glow(0, 0.29, 0.13, 0.04))
    for side in (-1, 1):
        image = over(image, (70, 38, 32), 0.8 * grid.ellipse(side * 0.07, 0.245, 0.035, 0.018, 0.01))
    return image


def _mouth(image: Image, grid: Grid, expression: Expression, head: Field) -> Image:
    smile, opening = expression.smile, expression.opening
    width = 0.24 + 0.13 * smile
    # A smile lifts the corners: the line of the mouth is a parabola.
    line = MOUTH_V + 0.02 + 0.03 * smile - 0.16 * smile * (grid.u / width) ** 2
    bulge = np.sqrt(np.clip(1 - (grid.u / width) ** 2, 0, 1))
    gap = (0.012 + 0.055 * smile + 0.09 * opening * (1 - 0.5 * smile)) * bulge
    across = below(np.abs(grid.u) - width, 0.012) * head

    top, bottom = line - gap, line + 1.25 * gap
    bow = 1 - 0.35 * np.exp(-((grid.u / 0.05) ** 2))
    lips = _between(grid.v, top - 0.045 * bow * bulge, bottom + 0.065 * bulge, 0.010)
    image = over(image, (168, 86, 84), lips * across)
    image = over(image, (60, 22, 24), _between(grid.v, top, bottom, 0.008) * across)
    teeth = _between(grid.v, top, top + 0.72 * (bottom - top), 0.008) * below(
        np.abs(grid.u) - 0.88 * width, 0.015
    )
    image = over(image, (240, 236, 228), teeth * across * min(1.0, 1.2 * smile))
    image = darker(image, 0.22 * head * grid.glow(0, MOUTH_V + 0.17 + 0.04 * smile, 0.15, 0.04))
    return lighter(image, 0.12 * head * grid.glow(0, 0.82, 0.20, 0.08))


def _smile_lines(image: Image, grid: Grid, smile: float, head: Field) -> Image:
    """Creases at the corners of the mouth and from the nose down, and raised cheeks."""
    for side in (-1, 1):
        corner = grid.glow(side * (0.24 + 0.16 * smile), MOUTH_V - 0.10 * smile, 0.05, 0.05)
        image = darker(image, 0.35 * smile * head * corner)
        fold = np.exp(-(((grid.u - side * (0.22 + 0.55 * (grid.v - 0.2))) / 0.035) ** 2))
        image = darker(image, 0.22 * smile * head * fold * _between(grid.v, 0.2, 0.48, 0.03))
        image = lighter(image, 0.22 * smile * head * grid.glow(side * 0.38, 0.16, 0.16, 0.11))
    return image


def _between(value: Field, low: Field | float, high: Field | float, soft: float) -> Field:
    return below(low - value, soft) * below(value - high, soft)
