"""Head pose from five landmarks.

A mean head's five points, rotated and seen from afar (scaled orthography, so that no camera is assumed), are laid over
the landmarks in the least-squares sense. A turn of the picture changes roll by exactly that turn and leaves yaw and
pitch alone.
"""

from __future__ import annotations

import numpy as np

from facefact.types import Pose

# x right, y down, z away from the viewer, in pixels of the 112 px template. x, y: the mean of YuNet's and MediaPipe's
# points over 360 aligned press photos (LFW), made symmetric, so that people who look into a camera are at 0. Depth: as
# in MediaPipe's canonical face model (nose tip 4.0 cm, mouth corners 0.8 cm before the eye corners, eyes 6.3 cm apart).
HEAD = np.array(
    [
        [-18.0, -21.6, 0.0],
        [18.0, -21.6, 0.0],
        [0.0, 0.0, -22.4],
        [-15.2, 16.8, -4.5],
        [15.2, 16.8, -4.5],
    ]
)
ROUNDS = 30  # alternations of depth and rotation; each costs one 3x3 SVD


def pose_from_landmarks(landmarks: np.ndarray) -> Pose:
    """(5, 2) landmarks in pixels -> Pose in degrees. A guess, good to some ten degrees."""
    return pose_from_rotation(head_rotation(landmarks))


def pose_from_rotation(rotation: np.ndarray) -> Pose:
    """(3, 3) rotation -> the angles, in degrees, of Rz(roll) Ry(-yaw) Rx(-pitch), axes as in HEAD."""
    yaw = np.arcsin(np.clip(rotation[2, 0], -1, 1))
    pitch = -np.arctan2(rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return Pose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))


def head_rotation(landmarks: np.ndarray) -> np.ndarray:
    """(3, 3) rotation of HEAD whose scaled orthographic picture is nearest to the (5, 2) landmarks.

    Alternates between the depths that the present rotation implies and the best rotation for landmarks with those
    depths (orthogonal Procrustes); every step lowers the squared error."""
    seen = np.asarray(landmarks, np.float64)
    if not np.isfinite(seen).all() or np.ptp(seen, axis=0).max() < 1e-6:
        return np.eye(3)
    seen, head = seen - seen.mean(0), HEAD - HEAD.mean(0)
    rotation, scale = _first_guess(seen, head)
    for _ in range(ROUNDS):
        depth = scale * head @ rotation[2]
        rotation, scale = _procrustes(head, np.column_stack([seen, depth]))
    return rotation


def _first_guess(seen: np.ndarray, head: np.ndarray) -> tuple[np.ndarray, float]:
    """From the unconstrained linear camera: its rows made orthonormal, the third by the right-hand rule."""
    camera = np.linalg.lstsq(head, seen, rcond=None)[0].T
    u, s, vt = np.linalg.svd(camera, full_matrices=False)
    rows = u @ vt
    return np.vstack([rows, np.cross(rows[0], rows[1])]), float(s.mean())


def _procrustes(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Rotation and scale with least |target - scale * source @ rotation.T| for centred (n, 3) points (Umeyama)."""
    u, s, vt = np.linalg.svd(target.T @ source)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (u * sign) @ vt, float((s * sign).sum() / (source**2).sum())
