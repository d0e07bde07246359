"""A person's own head, of a portrait of them, laid into the view of a template by its landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facefact.faces import Detector
from facefact.faces.align import similarity
from facefact.faces.mask import filled
from facefact.faces.square import seen_through
from facefact.generate.regions import Region, region_mask, softened
from facefact.generate.view import View
from facefact.types import Face, Portrait, UserError

SEAM = 0.35  # of the noise schedule: the last part, in which a head that was laid in may change too


@dataclass(frozen=True)
class Head:
    """Of a portrait, (size, size, 3) uint8: where the head is, (size, size) bool, and its (5, 2) landmarks."""

    portrait: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray


def head_of(portrait: Portrait, *, detector: Detector, region: Region) -> Head:
    """What of a portrait of the person is laid in. UserError: no face is found in it."""
    pixels = np.asarray(portrait.image.convert("RGB"))
    faces = detector.detect(pixels)
    if not faces:
        raise UserError(
            f"no face is found in the portrait of the person (seed {portrait.recipe['seed']}): try another --seed or "
            "--prompt, or --shape template"
        )
    head = region_mask(faces[0], pixels, region=region, head=detector.head_mask(pixels, faces[0]))
    return Head(pixels, filled(head), faces[0].landmarks.astype(np.float64))


def laid_over(
    head: Head, face: Face, *, view: View, look: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The view with the head laid in by the landmarks of the template's face, what of the picture is new then (h, w),
    and the freedom of the view's pixels: the seam and what the old head leaves bare all the time, the new head's inside
    in the last part.

    look: (size, size, 3) uint8, the view before. weight: (h, w) of the old head."""
    size, side = (view.size, view.size), face.longer_side * float(np.sqrt(np.linalg.det(view.matrix[:, :2])))
    matrix = similarity(head.landmarks, view.points(face.landmarks))
    new_head = seen_through(head.mask.astype(np.float32), matrix, size, border=cv2.BORDER_CONSTANT) > 0.5
    laid = seen_through(head.portrait, matrix, size, how=cv2.INTER_CUBIC)
    old = view.look_at_mask(weight) > 0
    bare = cv2.inpaint(look, (old & ~new_head).astype(np.uint8), max(3, round(0.05 * side)), cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(new_head.astype(np.float32), (0, 0), max(0.5, 0.015 * side))[..., None]
    over = np.round(bare + soft * (laid.astype(np.float32) - bare)).astype(np.uint8)
    kernel = np.ones((max(3, 2 * round(0.04 * side) + 1),) * 2, np.uint8)
    inside = cv2.erode(new_head.astype(np.uint8), kernel, borderValue=1) > 0
    new = softened(new_head, side)
    freedom = np.where(inside, SEAM, (old | (new > 0)).astype(np.float32))
    whole = np.zeros(weight.shape, np.float32)
    whole[view.part] = np.clip(view.back(new, how=cv2.INTER_LINEAR), 0, 1)
    return over, np.maximum(weight, np.where(whole < 1 / 255, 0, whole)), freedom.astype(np.float32)
