"""Faces in pictures: read the picture, find the faces, choose one, mask and align it for the encoder.

Knows images and landmarks, no tensors of a model; torch and the detectors' packages are imported when they are needed.
"""

from facefact.faces.align import TEMPLATE, align, alignment
from facefact.faces.choice import DETECTORS, checked_face, choose_face, find_faces, get_detector, why_unusable
from facefact.faces.crop import face_crop, face_crop_from, face_from_landmarks, head_mask
from facefact.faces.detector import Detector
from facefact.faces.draw import draw_faces
from facefact.faces.picture import open_picture
from facefact.faces.pose import pose_from_landmarks
from facefact.faces.quality import Quality, face_quality

__all__ = [
    "DETECTORS",
    "TEMPLATE",
    "Detector",
    "Quality",
    "align",
    "alignment",
    "checked_face",
    "choose_face",
    "draw_faces",
    "face_crop",
    "face_crop_from",
    "face_from_landmarks",
    "face_quality",
    "find_faces",
    "get_detector",
    "head_mask",
    "open_picture",
    "pose_from_landmarks",
    "why_unusable",
]
