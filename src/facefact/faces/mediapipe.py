"""MediaPipe 0.10.14 (the last wheel that carries its models): detector, face mesh and person segmentation, all on the
CPU.

The mesh gives landmarks and the oval; where it sees nothing (faces below a quarter of the picture), the detector finds
faces first and the mesh looks at an enlarged box about each. Head with hair = oval + segmented person near the face,
cut at the chin."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from facefact.faces.align import alignment, inverse, transform
from facefact.faces.closer import Found, look_closer, seen_in
from facefact.faces.detector import largest_first, overlapping_removed
from facefact.faces.mask import polygon_mask, template_ellipse
from facefact.faces.pose import pose_from_landmarks
from facefact.faces.square import cut, square_about
from facefact.faces.turned import any_way_up, face_turned, turned, way_up
from facefact.types import Face, UserError

CONFIDENCE = 0.5
NEIGHBOURS = 4  # faces that the square about a face may show
SMALLEST = 16  # pixels; no face can be found in a picture of less
UPRIGHT = 0.86  # score below which other ways up are tried: one of 60 upright photos, nearly all turned ones
ENLARGED = 2.0  # side of the square about a detected face that the mesh looks at, in units of the box's longer side
VIEW_SIZE = 256  # pixels: small squares are enlarged to it
# Mesh points: iris centres, the tip between 1 and 4, mouth corners; picture-left first.
FIVE = ((468,), (473,), (1, 4), (61,), (291,))
HOOD = ((56.0, 42.0), (72.0, 88.0))  # middle and half axes, in the 112 px template, of the ellipse in which hair may be
PERSON = 0.5


def available() -> bool:
    """Whether `import mediapipe` can work, without importing it."""
    return importlib.util.find_spec("mediapipe") is not None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MediaPipe's C++ writes to file descriptor 2 whatever the log level says: send that to nowhere meanwhile."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def load() -> ModuleType:
    """The package, silenced. UserError where it is missing, too new (without models) or lacks a system library."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.filterwarnings("ignore", message=r".*GetPrototype\(\) is deprecated.*")
    try:
        with quiet():
            import mediapipe

            _ = mediapipe.solutions.face_mesh
    except (ImportError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"MediaPipe cannot be used ({reason}): pip install 'facefact[faces]'") from error
    return mediapipe


class MediaPipeDetector:
    """Detector, mesh and segmentation of MediaPipe. Not for several threads at once: its graphs keep state."""

    name = "mediapipe"
    licence = "Apache-2.0 (MediaPipe, with its models)"

    def __init__(self) -> None:
        solutions = load().solutions
        with quiet():
            self._mesh = solutions.face_mesh.FaceMesh(
                static_image_mode=True,
                max_num_faces=NEIGHBOURS,
                refine_landmarks=True,
                min_detection_confidence=CONFIDENCE,
            )
            self._finders = [
                solutions.face_detection.FaceDetection(model_selection=reach, min_detection_confidence=CONFIDENCE)
                for reach in (0, 1)  # within 2 m, within 5 m
            ]
            self._person = solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
            # The first picture through each graph brings its remarks.
            blank = np.zeros((VIEW_SIZE, VIEW_SIZE, 3), np.uint8)
            for graph in (self._mesh, *self._finders, self._person):
                graph.process(blank)
        connections = solutions.face_mesh.FACEMESH_FACE_OVAL
        self._oval = _ring(connections)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Faces of an (h, w, 3) uint8 RGB picture, largest first, whichever way up it is."""
        if min(picture.shape[:2]) < SMALLEST:
            return []
        return any_way_up(picture, self._detect, sure=UPRIGHT)

    def _detect(self, picture: np.ndarray) -> list[Face]:
        """Those that are upright."""
        meshes = [
            (self._mesh_of(picture, one.box), one.score)
            for one in look_closer(picture.shape, lambda tile: seen_in(picture, tile, self._look))
        ]
        found = [self._face(points, score) for points, score in meshes if points is not None]
        return largest_first(overlapping_removed(found))

    def _look(self, view: np.ndarray) -> list[Found]:
        """What both finders see in an (h, w, 3) uint8 RGB view."""
        size = np.array([view.shape[1], view.shape[0]])
        return [found for finder in self._finders for found in _boxes(finder.process(view), size)]

    def _mesh_of(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """(478, 2) mesh points in pixels of the face in a (2, 2) box of the picture, None where the mesh sees none."""
        part, matrix = cut(picture, square_about(box, ENLARGED), VIEW_SIZE)
        points = self._points(part)
        return None if points is None else transform(points, inverse(matrix))

    def mesh(self, part: np.ndarray) -> np.ndarray | None:
        """(478, 3) mesh points of the face nearest to the middle of an (h, w, 3) uint8 RGB picture, or None: x, y in
        pixels, and the depth in about the same unit, smaller towards the viewer."""
        meshes = self._mesh.process(part).multi_face_landmarks or []
        size = np.array([part.shape[1], part.shape[0], part.shape[1]])
        middle = np.array([0.5, 0.5, 0.0])
        all_points = [np.array([(p.x, p.y, p.z) for p in mesh.landmark]) for mesh in meshes]
        off = [float(np.linalg.norm(((points.mean(0) - middle) * size)[:2])) for points in all_points]
        return all_points[int(np.argmin(off))] * size - [0.5, 0.5, 0.0] if off else None

    def _points(self, part: np.ndarray) -> np.ndarray | None:
        """(478, 2) mesh points in pixels of the face nearest to the middle of a square picture, or None."""
        points = self.mesh(part)
        return None if points is None else points[:, :2]

    def person(self, part: np.ndarray) -> np.ndarray:
        """(h, w) float: how surely each pixel of an (h, w, 3) uint8 RGB picture shows the person, in [0, 1]."""
        return self._person.process(part).segmentation_mask

    def _face(self, points: np.ndarray, score: float) -> Face:
        """(478, 2) mesh points in pixels."""
        landmarks = np.array([points[list(which)].mean(0) for which in FIVE], np.float32)
        oval = points[self._oval].astype(np.float32)
        low, high = oval.min(0), oval.max(0)
        return Face(
            box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
            landmarks=landmarks,
            score=score,
            pose=pose_from_landmarks(landmarks),
            oval=oval,
            backend=self.name,
            mesh=points.astype(np.float32),
        )

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the oval and the segmented person that touches it, inside a hood that ends at the chin."""
        if face.oval is None:
            raise ValueError("the face is not from this detector")
        if turn := way_up(face):
            return turned(self.head_mask(turned(picture, turn), face_turned(face, picture.shape, turn)), -turn)
        oval = polygon_mask(picture.shape, face.oval)
        to_crop = alignment(face.landmarks)
        chin = float(transform(face.oval, to_crop)[:, 1].max())
        outline = template_ellipse(*HOOD)
        outline[:, 1] = np.minimum(outline[:, 1], chin)
        near = polygon_mask(picture.shape, transform(outline, inverse(to_crop)))
        person = near & self._person_mask(picture, face)
        _, labels = cv2.connectedComponents((person | oval).astype(np.uint8), connectivity=4)
        touching = np.unique(labels[oval])
        return np.isin(labels, touching[touching > 0])

    def _person_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the person, segmented within three face sizes (the network's square input would lose a small
        face)."""
        square = square_about(np.array(face.box).reshape(2, 2), 3.0)
        part, matrix = cut(picture, square, VIEW_SIZE)
        share = self.person(part)
        height, width = picture.shape[:2]
        whole = cv2.warpAffine(share, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return whole > PERSON


def _ring(connections: Any) -> list[int]:
    """Edges of one closed outline (pairs of point numbers, any order) -> the points as one walks along it."""
    after = dict(connections)
    ring = [next(iter(after))]
    while (following := after[ring[-1]]) != ring[0]:
        ring.append(following)
    return ring


def _boxes(answer: Any, size: np.ndarray) -> list[Found]:
    """Everything that a detector found. size: (2,) width, height of what it saw."""
    found = []
    for detection in answer.detections or []:
        box = detection.location_data.relative_bounding_box
        corner, extent = np.array([box.xmin, box.ymin]), np.array([box.width, box.height])
        found.append(Found(np.stack([corner * size, (corner + extent) * size]), float(detection.score[0])))
    return found
