"""Pose: what the mean head shows at a known pose is read back; a turn of the picture is a turn of roll only."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.faces.draw import pose_axes
from facefact.faces.pose import HEAD, head_rotation, pose_from_landmarks, pose_from_rotation
from facefact.types import Pose


def rotation(pose: Pose) -> np.ndarray:
    """Rz(roll) Ry(-yaw) Rx(-pitch), axes x right, y down, z away."""
    yaw, pitch, roll = -np.radians(pose.yaw), -np.radians(pose.pitch), np.radians(pose.roll)
    rx = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    ry = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    rz = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return rz @ ry @ rx


def seen(pose: Pose, scale: float = 2.0) -> np.ndarray:
    return scale * (HEAD @ rotation(pose).T)[:, :2] + (300, 200)


def angles(pose: Pose) -> list[float]:
    return [pose.yaw, pose.pitch, pose.roll]


@pytest.mark.parametrize(
    "pose", [Pose(0, 0, 0), Pose(35, 0, 0), Pose(-35, 10, 5), Pose(10, -30, -40), Pose(60, 20, 170)]
)
def test_a_known_pose_is_read_back(pose: Pose) -> None:
    np.testing.assert_allclose(angles(pose_from_rotation(rotation(pose))), angles(pose), atol=1e-9)
    np.testing.assert_allclose(angles(pose_from_landmarks(seen(pose))), angles(pose), atol=0.05)


@pytest.mark.parametrize("turn", [-170.0, -60.0, 15.0, 90.0])
def test_turning_the_picture_turns_roll_only(turn: float) -> None:
    landmarks = seen(Pose(20, 10, 3)) + np.random.default_rng(0).normal(0, 3, (5, 2))
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    before, after = pose_from_landmarks(landmarks), pose_from_landmarks(landmarks @ np.array([[c, -s], [s, c]]).T)
    assert after.yaw == pytest.approx(before.yaw, abs=1e-6)
    assert after.pitch == pytest.approx(before.pitch, abs=1e-6)
    assert (after.roll - before.roll - turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_signs_are_as_the_records_say() -> None:
    """Yaw > 0: the nose moves to the picture's right; pitch > 0: up; roll > 0: clockwise, the right eye lower."""
    straight = seen(Pose(0, 0, 0))
    assert seen(Pose(20, 0, 0))[2, 0] > straight[2, 0]
    assert seen(Pose(0, 20, 0))[2, 1] < straight[2, 1]
    assert seen(Pose(0, 0, 20))[1, 1] > straight[1, 1]
    mirrored = (straight * (-1, 1))[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(angles(pose_from_landmarks(mirrored)), [0, 0, 0], atol=1e-6)


def test_it_is_a_rotation_even_for_nonsense() -> None:
    noise = np.random.default_rng(0)
    for landmarks in (*noise.normal(0, 50, (20, 5, 2)), np.zeros((5, 2)), np.full((5, 2), np.inf)):
        found = head_rotation(landmarks)
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(found) > 0


def test_drawn_axes_point_where_the_head_looks() -> None:
    side, top, look = pose_axes(Pose(30, 20, 0))
    assert look[0] > 0
    assert look[1] < 0
    assert side[0] > 0
    assert top[1] < 0
    np.testing.assert_allclose(pose_axes(Pose(0, 0, 0)), [[1, 0], [0, -1], [0, 0]], atol=1e-9)
