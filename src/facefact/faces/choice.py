"""Which detector, and which of the faces it found."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from facefact.faces.detector import Detector
from facefact.faces.photographed import UNSURE, photographed
from facefact.faces.picture import PictureLike, open_picture
from facefact.types import Face, UserError

log = logging.getLogger(__name__)

DETECTORS = ("auto", "yunet", "mediapipe", "insightface", "avatar")
AVATAR_WEIGHTS = Path(__file__).parents[1] / "demo" / "bundle" / "face_detector"  # where the bundle keeps them
GIVING = "--yunet FILE (facefact prepare: --set face.model=FILE)"
MENDING = f"install one with: pip install 'facefact[faces]', or give a YuNet model with: {GIVING}"
YUNET_MENDING = f"give one with: {GIVING}, or name it in FACEFACT_YUNET"
MIN_SIZE = 32.0  # square root of the box's area in pixels: the encoder wants 112, a third of it is still a face
MAX_YAW = 60.0  # degrees; beyond, one eye is hidden and the alignment shears
MAX_PITCH = 45.0


class PhotoOrAvatar:
    """Avatars of the embedded world first, photos by a detector made for photos. A face remembers who found it.

    open_photo: opens the latter when it is first needed (MediaPipe takes half a second of a processor); licence: which
    it will have then.
    """

    name = "auto"

    def __init__(
        self,
        avatar: Detector,
        photo: Detector | None,
        *,
        open_photo: Callable[[], Detector | None] | None = None,
        licence: str = "",
    ) -> None:
        self.avatar, self._photo, self._open_photo, self._licence = avatar, photo, open_photo, licence

    @property
    def photo(self) -> Detector | None:
        """Opened now, if it is not yet; None: there is none."""
        if self._open_photo is not None:
            self._photo, self._open_photo = self._open_photo(), None
        return self._photo

    @property
    def licence(self) -> str:
        """One line on the weights of both."""
        expected = self._licence if self._open_photo is not None else getattr(self._photo, "licence", "")
        return "; ".join(one for one in (self.avatar.licence, expected) if one)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Faces of an (h, w, 3) uint8 RGB picture, largest first. UserError if there is no avatar and no detector for
        photos."""
        faces = getattr(self.avatar, "detect_large", self.avatar.detect)(picture)
        if faces and (not self._is_photo(picture, faces[0]) or self.photo is None):
            return faces
        seen = [] if self.photo is None else self.photo.detect(picture)
        if len(seen) == 1:
            return seen
        # A group, perhaps; where there are photos' faces already, it is not worth looking four ways.
        quick = getattr(self.avatar, "detect_upright", self.avatar.detect)
        avatars = quick(picture) if seen else self.avatar.detect(picture)
        if len(avatars) >= max(1, len(seen)):
            return avatars
        if self.photo is None:
            raise UserError(f"the picture shows no avatar, and no detector for photos is here; {MENDING}")
        return seen

    def _is_photo(self, picture: np.ndarray, face: Face) -> bool:
        """Whether what the avatar detector found is a photo, by that face or, where it is not quite sure of it (it may
        have turned the picture), by the one that it sees upright."""
        if photographed(picture, face):
            return True
        upright = getattr(self.avatar, "detect_upright", None)
        if face.score >= UNSURE or upright is None:
            return False
        return any(photographed(picture, one) for one in upright(picture)[:1])

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool, by the detector that found the face."""
        owner = self.avatar if face.backend == self.avatar.name or self.photo is None else self.photo
        return owner.head_mask(picture, face)


def get_detector(
    name: str = "auto",
    *,
    model: str | os.PathLike[str] | None = None,
    offline: bool = True,
    avatar: str | os.PathLike[str] | None = None,
) -> Detector:
    """A detector by name (one of DETECTORS). UserError, with how to mend it, if it cannot be had.

    "auto": the avatar detector if its weights are there, then for photos MediaPipe if it is installed, else YuNet if
    its file is found. A `model` (YuNet's file) given with "auto" means YuNet for the photos. avatar: directory of the
    avatar detector's weights, default AVATAR_WEIGHTS. offline: False allows a download (YuNet, InsightFace).
    """
    if name not in DETECTORS:
        raise UserError(f"there is no detector {name!r}; choose from {', '.join(DETECTORS)}")
    if name == "insightface":
        from facefact.faces.insightface import InsightFaceDetector

        return InsightFaceDetector(offline=offline)
    if name == "mediapipe":
        from facefact.faces.mediapipe import MediaPipeDetector

        return MediaPipeDetector()
    if name == "yunet":
        return _yunet(model, offline) or _missing(f"no YuNet model is here; {YUNET_MENDING}")
    from facefact.faces import mediapipe

    weights = Path(avatar or AVATAR_WEIGHTS)
    if name == "avatar":
        return _avatar(weights)
    if avatar is None and not weights.is_dir():
        return _for_photos(model, offline) or _missing(f"no face detector is here; {MENDING}")
    if model is None and mediapipe.available():
        later = partial(_for_photos, model, offline)
        return PhotoOrAvatar(_avatar(weights), None, open_photo=later, licence=mediapipe.MediaPipeDetector.licence)
    return PhotoOrAvatar(_avatar(weights), _for_photos(model, offline))


def _missing(line: str) -> Detector:
    raise UserError(line)


def _avatar(weights: Path) -> Detector:
    from facefact.faces.avatar import AvatarDetector

    return AvatarDetector.from_pretrained(weights)


def _yunet(model: str | os.PathLike[str] | None, offline: bool) -> Detector | None:
    from facefact.faces.yunet import YuNetDetector, find_yunet

    path = find_yunet(model, offline=offline)
    return None if path is None else YuNetDetector(path)


def _for_photos(model: str | os.PathLike[str] | None, offline: bool) -> Detector | None:
    """YuNet if its file is given, else MediaPipe if it works, else YuNet from where it may be, else None."""
    from facefact.faces import mediapipe

    if model is None and mediapipe.available():
        try:
            return mediapipe.MediaPipeDetector()
        except UserError as error:
            log.warning("%s", error)
    return _yunet(model, offline)


def find_faces(picture: PictureLike, *, detector: Detector | None = None) -> list[Face]:
    """All faces of a picture, largest first. None detected is an empty list, not an error."""
    return (detector or get_detector()).detect(open_picture(picture))


def why_unusable(face: Face) -> str | None:
    """What is wrong with a face as a reference, in words; None if nothing is."""
    size = face.area**0.5
    if size < MIN_SIZE:
        return f"too small ({size:.0f} px; {MIN_SIZE:.0f} are needed, 112 are good)"
    if abs(face.pose.yaw) > MAX_YAW:
        return f"turned away (yaw {face.pose.yaw:.0f} degrees; up to {MAX_YAW:.0f} can be used)"
    if abs(face.pose.pitch) > MAX_PITCH:
        return f"turned away (pitch {face.pose.pitch:.0f} degrees; up to {MAX_PITCH:.0f} can be used)"
    return None


def choose_face(faces: list[Face], which: int = 0) -> Face:
    """As `checked_face`; where several were found and none chosen, a warning is logged that the largest is taken."""
    if len(faces) > 1 and which == 0:
        log.warning("%d faces were found; the largest is taken (--which 1 takes the next)", len(faces))
    return checked_face(faces, which)


def checked_face(faces: list[Face], which: int = 0) -> Face:
    """The face number `which` of the detector's list: 0 is the largest, 1 the next.

    UserError: no face, no such number, the chosen one too small or turned away (MIN_SIZE, MAX_YAW, MAX_PITCH).
    """
    if not faces:
        raise UserError("no face was found; use a picture in which one is upright, well lit and large")
    if not 0 <= which < len(faces):
        raise UserError(f"there is no face {which}: {len(faces)} found, numbered from 0 (the largest)")
    if reason := why_unusable(faces[which]):
        raise UserError(f"the face is {reason}")
    return faces[which]
