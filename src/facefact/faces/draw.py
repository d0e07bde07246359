"""Pictures that show what was found."""

from __future__ import annotations

import cv2
import numpy as np

from facefact.types import Face, Pose

CHOSEN, OTHER = (255, 196, 61), (150, 170, 190)  # RGB
POINTS = ((64, 196, 255), (64, 196, 255), (255, 120, 90), (120, 230, 140), (120, 230, 140))  # eyes, nose, mouth
AXES = ((255, 90, 90), (110, 220, 110), (90, 150, 255))  # to the head's left side, its top, where it looks
TINT = (20, 40, 60)
FINE = 4  # fractional bits of OpenCV's drawing coordinates
SMALLEST = 480  # pixels of the longest side: less is enlarged first, so that lines and letters are fine


def draw_faces(
    picture: np.ndarray,
    faces: list[Face],
    *,
    which: int = 0,
    head: np.ndarray | None = None,
    crop: np.ndarray | None = None,
) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> a copy with boxes, landmarks and pose axes; dark outside `head`; `crop` in a corner."""
    enlarged = max(1.0, SMALLEST / max(picture.shape[:2]))
    canvas = picture if head is None else _tinted(picture, head)
    canvas = np.ascontiguousarray(cv2.resize(canvas, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC))
    for number, face in enumerate(faces):
        _draw_face(canvas, face, enlarged, number, chosen=number == which)
    if crop is not None:
        _inset(canvas, crop)
    return canvas


def _tinted(picture: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> the same, darkened where the (h, w) bool head is not."""
    dark = (picture * 0.35 + np.array(TINT) * 0.65).astype(np.uint8)
    return np.where(head[..., None], picture, dark)


def _draw_face(canvas: np.ndarray, face: Face, enlarged: float, number: int, *, chosen: bool) -> None:
    """Box with number and score, landmarks and pose, in place on an (h, w, 3) uint8 RGB canvas."""
    line = max(1, round(max(canvas.shape[:2]) / 500))
    box = scaled(np.array(face.box).reshape(2, 2), enlarged)
    colour = CHOSEN if chosen else OTHER
    corners(canvas, box, colour, line + 1)
    if chosen and face.oval is not None:
        outline = [fine(scaled(face.oval, enlarged))]
        cv2.polylines(canvas, outline, True, colour, line, cv2.LINE_AA, FINE)
    landmarks = scaled(face.landmarks, enlarged)
    for point, point_colour in zip(landmarks, POINTS, strict=True):
        cv2.circle(canvas, fine(point).tolist(), (2 * line + 1) << FINE, point_colour, -1, cv2.LINE_AA, FINE)
    if chosen:
        _pose_axes(canvas, face.pose, landmarks[2], float(np.ptp(box[:, 0])) / 3, line + 1)
    text = f"{number}  {face.score:.2f}"
    _label(canvas, text, box[0], colour, line)


def fine(points: np.ndarray) -> np.ndarray:
    """(..., 2) pixels -> (..., 2) int32, OpenCV's drawing coordinates with FINE fractional bits."""
    return np.round(points * (1 << FINE)).astype(np.int32)


def scaled(points: np.ndarray, enlarged: float) -> np.ndarray:
    """(..., 2) points of a picture in the same picture made `enlarged` times as large; pixel centres stay
    pixel centres."""
    return (np.asarray(points, np.float64) + 0.5) * enlarged - 0.5


def corners(canvas: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], line: int) -> None:
    """Four corner brackets of a (2, 2) box, in place. line: their thickness in pixels."""
    arm = (box[1] - box[0]).min() / 5
    for i in (0, 1):
        for j in (0, 1):
            corner = np.array([box[i, 0], box[j, 1]])
            for step in (np.array([arm * (1 - 2 * i), 0]), np.array([0, arm * (1 - 2 * j)])):
                ends = fine(np.stack([corner, corner + step])).tolist()
                cv2.line(canvas, ends[0], ends[1], colour, line, cv2.LINE_AA, FINE)


def pose_axes(pose: Pose) -> np.ndarray:
    """(3, 2) unit vectors as seen in the picture (y down): towards the head's side, its top, and where it looks."""
    yaw, pitch, roll = np.radians([pose.yaw, pose.pitch, pose.roll])
    turn_roll = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    turn_yaw = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    turn_pitch = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    head = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]])
    return (head @ (turn_roll @ turn_yaw @ turn_pitch).T)[:, :2]


def _pose_axes(canvas: np.ndarray, pose: Pose, start: np.ndarray, length: float, line: int) -> None:
    """The three axes of the head from `start`, (2,) in pixels, in place. length: pixels."""
    for axis, colour in zip(pose_axes(pose), AXES, strict=True):
        ends = fine(np.stack([start, start + axis * length])).tolist()
        cv2.line(canvas, ends[0], ends[1], colour, line, cv2.LINE_AA, FINE)


def _label(canvas: np.ndarray, text: str, corner: np.ndarray, colour: tuple[int, int, int], line: int) -> None:
    """A word above `corner`, (2,) in pixels, in place."""
    scale = 0.45 * line
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
    x = int(np.clip(corner[0], 2, max(2, canvas.shape[1] - width - 2)))
    y = int(np.clip(corner[1] - 5 * line, height + 3, canvas.shape[0] - 3))
    for shade, extra in (((0, 0, 0), 2 * line), (colour, 0)):
        cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, shade, line + extra, cv2.LINE_AA)


def _inset(canvas: np.ndarray, crop: np.ndarray) -> None:
    """The encoder's view, (112, 112, 3) uint8 RGB, in the lower right corner, framed; in place."""
    side = min(canvas.shape[:2]) // 4
    if side < 16:
        return
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    height, width = canvas.shape[:2]
    canvas[height - side - 6 : height - 6, width - side - 6 : width - 6] = small
    cv2.rectangle(canvas, (width - side - 7, height - side - 7), (width - 6, height - 6), CHOSEN, 1)
