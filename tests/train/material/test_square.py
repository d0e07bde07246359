"""The square that is cut from a photo."""

from __future__ import annotations

from facefact.train.material.square import square_around


def test_the_square_keeps_as_much_as_it_can() -> None:
    box = lambda x, y: (x - 5, y - 5, x + 5, y + 5)  # noqa: E731
    assert square_around(box(10, 20), 100, 100) == (slice(0, 100), slice(0, 100))
    assert square_around(box(150, 50), 100, 300)[1] == slice(100, 200)
    assert square_around(box(280, 50), 100, 300)[1] == slice(200, 300)
    assert square_around(box(50, 20), 300, 100)[0] == slice(0, 100)
