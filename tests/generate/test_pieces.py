from __future__ import annotations

import numpy as np

from facefact.generate.pieces import Piece, box_of, laid_in, turns
from inpainting import picture


def piece(window: tuple[int, int, int, int], weight: float, seed: int = 0) -> Piece:
    x0, y0, x1, y1 = window
    patch = np.random.default_rng(seed).integers(0, 256, (y1 - y0, x1 - x0, 3), dtype=np.uint8)
    return Piece(window, patch, np.full(patch.shape[:2], weight, np.float32))


def test_one_piece_is_a_linear_blend_and_exact_where_its_weight_is_0() -> None:
    colours, one = picture(8, 9), piece((2, 1, 7, 6), 0.25)
    one.weight[:, :2] = 0
    out = laid_in(colours, [one])
    kept = np.ones((8, 9), bool)
    kept[1:6, 4:7] = False
    np.testing.assert_array_equal(out[kept], colours[kept])
    expected = 0.75 * colours[1:6, 4:7].astype(float) + 0.25 * one.patch[:, 2:]
    np.testing.assert_allclose(out[1:6, 4:7], expected, atol=0.5001)


def test_pieces_apart_do_not_know_of_each_other_in_any_order() -> None:
    colours, one, two = picture(20, 30), piece((1, 1, 9, 9), 0.8), piece((15, 8, 29, 19), 1.0, seed=1)
    both = laid_in(colours, [one, two])
    np.testing.assert_array_equal(both[1:9, 1:9], laid_in(colours, [one])[1:9, 1:9])
    np.testing.assert_array_equal(both[8:19, 15:29], two.patch)
    np.testing.assert_array_equal(both, laid_in(colours, [two, one]))


def test_where_pieces_meet_nothing_is_blended_twice() -> None:
    colours = np.zeros((10, 10, 3), np.uint8)
    white = Piece((0, 0, 10, 10), np.full((10, 10, 3), 200, np.uint8), np.full((10, 10), 0.5, np.float32))
    np.testing.assert_array_equal(laid_in(colours, [white]), 100)
    np.testing.assert_array_equal(laid_in(colours, [white, white]), 100)
    full = Piece((0, 0, 10, 10), white.patch, np.ones((10, 10), np.float32))
    assert laid_in(colours, [full, white]).max() <= 200
    np.testing.assert_array_equal(laid_in(colours, []), colours)


def test_a_row_of_people_takes_two_turns_however_long_it_is() -> None:
    windows = [(10 * i, 0, 10 * i + 14, 10) for i in range(9)]
    changes = [(10 * i + 2, 2, 10 * i + 12, 8) for i in range(9)]
    assert turns(windows, changes) == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
    apart = [(10 * i + 4, 2, 10 * i + 10, 8) for i in range(9)]
    assert turns(windows, apart) == [list(range(9))], "squares may overlap where nothing changes"
    assert turns([(0, 0, 9, 9)] * 3, [(1, 1, 2, 2)] * 3) == [[0], [1], [2]]
    assert turns([], []) == []


def test_the_box_of_a_weight() -> None:
    weight = np.zeros((6, 8))
    assert box_of(weight) == (0, 0, 0, 0)
    weight[2, 3] = weight[4, 5] = 0.1
    assert box_of(weight) == (3, 2, 6, 5)
