"""What passes from the reference besides the person: its look, its very picture, and change where the face is not."""

from __future__ import annotations

import numpy as np


def leaked(seen: np.ndarray, worn: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n,) 1.0 where a picture shows what the reference has and its prompt does not ask for, 0.0 where it does not, NaN
    where both are the same or one of them is hidden. seen, worn, wanted: (n,) indices of a factor's values in the
    picture, the reference, the prompt; below 0: hidden, or nothing that could leak."""
    tells = (worn >= 0) & (wanted >= 0) & (worn != wanted)
    return np.where(tells, (seen == worn).astype(np.float64), np.nan)


def angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) radians between two (n, d) arrays of unit vectors."""
    return np.arccos(np.clip((one * other).sum(-1), -1, 1))


def copy_paste(made: np.ndarray, reference: np.ndarray, true: np.ndarray, *, least: float = 1e-6) -> np.ndarray:
    """(n,) in [-1, 1]: how much nearer a picture's face is to the reference picture than to another true picture of the
    same person, over how far these two are apart: 1 is the reference itself, -1 the true picture itself.

    M_CP of WithAnyone (arXiv 2510.14975, eq. 2): (theta_gt - theta_gr) / max(theta_tr, eps), angles between unit
    embeddings of the generated g, the reference r and the true picture t; each (n, d). It says little of pictures that
    are like neither: look at it where the similarity to the true picture is high (`above`), as its authors do.
    """
    apart = np.maximum(angle(true, reference), least)
    return (angle(made, true) - angle(made, reference)) / apart


def above(values: np.ndarray, similarity: np.ndarray, bar: float) -> np.ndarray:
    """(n,) values where the similarity is above the bar, NaN elsewhere."""
    return np.where(similarity > bar, values, np.nan)


def locality(pictures: np.ndarray, others: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n,) in [0, 1]: what share of all change of two (n, h, w, 3) uint8 arrays lies inside of `inside`, (n, h, w)
    bool. 1: nothing else was touched. NaN where nothing changed."""
    change = np.abs(pictures.astype(np.float64) - others).mean(-1)
    with np.errstate(invalid="ignore"):
        return (change * inside).sum((1, 2)) / change.sum((1, 2))


def change_map(pictures: np.ndarray, others: np.ndarray, cells: int) -> np.ndarray:
    """(cells, cells): the mean change (0..255) of two (n, h, w, 3) uint8 arrays by place, over all pictures. The sides
    are multiples of `cells`."""
    change = np.abs(pictures.astype(np.float64) - others).mean((0, 3))
    height, width = change.shape
    if height % cells or width % cells:
        raise ValueError(f"pictures of {width} x {height} do not fall into {cells} cells")
    return change.reshape(cells, height // cells, cells, width // cells).mean((1, 3))
