"""The parts of the work are disjoint, and their sum is the whole."""

from __future__ import annotations

import time

import pytest

from facefact.data.clock import Clock


def busy(seconds: float) -> None:
    """Seconds of this process' CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_part_does_not_count_what_is_inside_it() -> None:
    clock = Clock()
    began = time.process_time()
    with clock.part("outer", 0):
        busy(0.02)
        for _ in range(2):
            with clock.part("inner"):
                busy(0.03)
                with clock.part("innermost", 5):
                    busy(0.01)
    whole = time.process_time() - began
    assert clock.seconds["outer"] == pytest.approx(0.02, abs=0.01)
    assert clock.seconds["inner"] == pytest.approx(0.06, abs=0.01)
    assert clock.seconds["innermost"] == pytest.approx(0.02, abs=0.01)
    assert sum(clock.seconds.values()) == pytest.approx(whole, abs=0.005)
    assert dict(clock.asked) == {"outer": 0, "inner": 2, "innermost": 10}


def test_a_part_that_fails_has_taken_its_time() -> None:
    clock = Clock()

    def fails() -> None:
        with clock.part("outer"), clock.part("inner"):
            busy(0.01)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert clock.seconds["inner"] >= 0.01
    assert clock.asked == {"outer": 1, "inner": 1}
