"""Whatever lies in a file: a picture as it is meant to be seen, or one of a few reasons, and never anything else."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.data.decode import decode
from facefact.data.duplicates import perceptual_hash
from facefact.data.inputs import list_entries
from facefact.data.prepare_config import DecodeSettings
from facefact.data.records import Decoded, Entry, Place, Unfit
from facefact.world import look, person, render

REASONS = {
    "unreadable",
    "empty",
    "not a picture",
    "damaged",
    "too many bytes",
    "too many pixels",
    "too small",
    "animated",
}
SMALL = DecodeSettings(min_side=1)
WRITTEN = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"]
OTHERS = ["ICO", "TGA", "PCX", "SGI", "DDS", "EPS", "PDF", "ICNS", "IM", "MSP", "XBM", "SPIDER", "BLP", "QOI"]


@pytest.fixture(scope="module")
def avatar() -> np.ndarray:
    return render(person(3), look(5), size=200).image


def encoded(kind: str, picture: np.ndarray | Image.Image, **options: object) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except (KeyError, OSError, ValueError):
        try:
            image.convert("1" if kind in ("MSP", "XBM") else "P").save(file, kind, **options)
        except (KeyError, OSError, ValueError) as error:
            pytest.skip(f"this Pillow writes no {kind}: {error}")
    return file.getvalue()


def entry_of(path: Path, content: bytes | None = None, name: str = "picture.jpg") -> Entry:
    if content is not None:
        (path / name).write_bytes(content)
    return Entry(name, Place(path / name))


def outcome(path: Path, content: bytes, settings: DecodeSettings = SMALL) -> Decoded | tuple[str, str]:
    try:
        return decode(entry_of(path, content), settings)
    except Unfit as unfit:
        caught = unfit
    assert caught.stage == "decode"
    assert caught.reason in REASONS
    assert caught.detail.isprintable()
    assert caught.detail.encode("utf-8")
    return caught.reason, caught.detail


def reason(path: Path, content: bytes, settings: DecodeSettings = SMALL) -> str:
    result = outcome(path, content, settings)
    assert isinstance(result, tuple), "it was decoded"
    return result[0]


def picture(path: Path, content: bytes, settings: DecodeSettings = SMALL) -> Decoded:
    result = outcome(path, content, settings)
    assert isinstance(result, Decoded), result
    return result


# Pictures


def test_what_is_known_of_a_picture(avatar: np.ndarray, tmp_path: Path) -> None:
    content = encoded("PNG", avatar)
    decoded = picture(tmp_path, content)
    assert np.array_equal(decoded.pixels, avatar)
    assert decoded.sha256 == hashlib.sha256(content).hexdigest()
    assert decoded.perceptual_hash == perceptual_hash(avatar)
    assert decoded.original == (200, 200)
    assert decoded.entry.name == "picture.jpg"


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_format_whatever_the_file_is_called(kind: str, avatar: np.ndarray, tmp_path: Path) -> None:
    decoded = picture(tmp_path, encoded(kind, avatar))
    assert np.abs(decoded.pixels.astype(int) - avatar).mean() < 6


@pytest.mark.parametrize("mode", ["CMYK", "P", "RGBA", "LA", "L", "1", "I;16"])
def test_every_kind_of_pixels(mode: str, avatar: np.ndarray, tmp_path: Path) -> None:
    image = Image.fromarray(avatar)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert("L").convert(mode) if mode == "LA" else image.convert(mode)
    decoded = picture(tmp_path, encoded("TIFF" if mode == "CMYK" else "PNG", image))
    assert decoded.pixels.shape == (200, 200, 3)
    assert decoded.pixels.dtype == np.uint8
    assert np.abs(coarse(decoded.pixels) - coarse(avatar)).mean() < 8


def coarse(pixels: np.ndarray) -> np.ndarray:
    """Grey means of 10 x 10 pixels: what is left of a dithered picture."""
    return pixels.mean(2).reshape(20, 10, 20, 10).mean((1, 3))


def test_large_ones_are_shrunk_and_the_original_size_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded("JPEG", Image.new("RGB", (900, 300), "red"), exif=exif)
    decoded = picture(tmp_path, content, DecodeSettings(min_side=300, max_side=450))
    assert decoded.original == (900, 300)
    assert decoded.pixels.shape == (450, 150, 3)
    assert reason(tmp_path, content, DecodeSettings(min_side=301)) == "too small"


def test_damaged_metadata_do_no_harm(avatar: np.ndarray, tmp_path: Path) -> None:
    for exif in (b"Exif\x00\x00II*\x00\xff\xff\xff\xff nonsense", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*" + bytes(60)):
        assert picture(tmp_path, encoded("JPEG", avatar, exif=exif)).pixels.shape == avatar.shape


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame_or_are_rejected(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    content = encoded(kind, frames[0], save_all=True, append_images=frames[1:])
    assert np.abs(picture(tmp_path, content).pixels[20, 20].astype(int) - (255, 0, 0)).max() < 8
    assert reason(tmp_path, content, DecodeSettings(min_side=1, animated="reject")) == "animated"
    still = encoded(kind, frames[0])
    assert picture(tmp_path, still, DecodeSettings(min_side=1, animated="reject"))


def test_a_member_of_a_tar_and_a_row_of_a_table(avatar: np.ndarray, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    content = encoded("PNG", avatar)
    write_table(pa.table({"image": [content, b"no", None]}), tmp_path / "a.parquet")
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        info = tarfile.TarInfo("1.png")
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    (member,) = list_entries(tmp_path / "a.tar")
    row, text, none = list_entries(tmp_path / "a.parquet")
    assert decode(member, SMALL).sha256 == decode(row, SMALL).sha256 == hashlib.sha256(content).hexdigest()
    for entry, why in ((text, "not a picture"), (none, "empty")):
        with pytest.raises(Unfit) as caught:
            decode(entry, SMALL)
        assert caught.value.reason == why


# Reasons


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files whose headers claim 200 megapixels and more."""
    width, height = 20_000, 10_000
    jpeg = encoded("JPEG", Image.new("RGB", (16, 16)))
    frame = jpeg.index(b"\xff\xc0") + 5
    webp = encoded("WEBP", Image.new("RGB", (16, 16)), lossless=True)
    size = webp.index(b"VP8L") + 9  # 14 bits for each side, less one
    bitmap = encoded("BMP", Image.new("RGB", (1, 1)))
    return {
        "PNG": png(width, height, bytes(1000)),
        "PNG of 2^31": png(2**31 - 1, 2**31 - 1, b""),
        "JPEG": jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :],
        "GIF": b"GIF89a" + struct.pack("<HH", width, height) + encoded("GIF", Image.new("RGB", (1, 1)))[10:],
        "BMP": bitmap[:18] + struct.pack("<ii", width, height) + bitmap[26:],
        "PPM": b"P6 20000 10000 255 " + bytes(100),
        "WEBP": webp[:size] + struct.pack("<I", 16_383 | 12_999 << 14) + webp[size + 4 :],
    }


@pytest.mark.parametrize("kind", bombs())
def test_bombs_are_never_decoded(kind: str, tmp_path: Path) -> None:
    peak = memory()
    assert reason(tmp_path, bombs()[kind]) == "too many pixels"
    assert memory() - peak < 100 << 20


def memory() -> int:
    """The most that this process has ever had, in bytes."""
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_limits(avatar: np.ndarray, tmp_path: Path) -> None:
    content = encoded("PNG", avatar)
    assert reason(tmp_path, content, DecodeSettings(min_side=201)) == "too small"
    assert reason(tmp_path, content, DecodeSettings(max_pixels=39_999)) == "too many pixels"
    assert reason(tmp_path, content, DecodeSettings(max_bytes=len(content) - 1)) == "too many bytes"
    assert picture(tmp_path, content, DecodeSettings(min_side=200, max_pixels=40_000, max_bytes=len(content)))


def test_what_is_no_picture(tmp_path: Path) -> None:
    for content in (b"I am a picture, honestly", b"MZ\x90\0" + bytes(500), b"\x7fELF" + bytes(99), b"BM", b"\0" * 4096):
        assert reason(tmp_path, content) in ("not a picture", "damaged")
    assert reason(tmp_path, b"") == "empty"
    assert reason(tmp_path, b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "not a picture"
    assert reason(tmp_path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not a picture"
    for name in ("gone.jpg", "nul\0.jpg", "x" * 5000):
        with pytest.raises(Unfit) as caught:
            decode(entry_of(tmp_path, name=name), SMALL)
        assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("kind", OTHERS)
def test_formats_that_are_not_read(kind: str, tmp_path: Path) -> None:
    """They are rare for photos, and every decoder is a door."""
    assert reason(tmp_path, encoded(kind, Image.new("RGB", (32, 32), "red"))) in ("not a picture", "damaged")


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_damaged(kind: str, share: float, avatar: np.ndarray, tmp_path: Path) -> None:
    content = encoded(kind, avatar)
    why = reason(tmp_path, content[: int(share * len(content))])
    assert why == "damaged" or (kind == "JPEG2000" and why == "not a picture")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_jpeg_that_was_cut_and_closed_is_damaged(turn: int, avatar: np.ndarray, tmp_path: Path) -> None:
    """And not half grey: decoders take it without a word. So is the picture that somebody made of one."""
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded("JPEG", np.ascontiguousarray(avatar[:, :160]), quality=90, exif=exif)
    for share in (0.4, 0.7):
        cut = content[: int(share * len(content))] + b"\xff\xd9"
        assert reason(tmp_path, cut) == "damaged"
        assert reason(tmp_path, cut, DecodeSettings(min_side=1, max_side=120)) == "damaged"
        if turn == 1:
            with Image.open(io.BytesIO(cut)) as half:
                assert reason(tmp_path, encoded("JPEG", half.convert("RGB"), quality=80)) == "damaged"
    assert picture(tmp_path, content)


def test_grey_that_belongs_to_the_picture(avatar: np.ndarray, tmp_path: Path) -> None:
    framed = np.full((280, 200, 3), 128, np.uint8)
    framed[40:240] = avatar
    assert picture(tmp_path, encoded("JPEG", framed, quality=95, subsampling=0))
    assert picture(tmp_path, encoded("JPEG", framed[:240], quality=95, subsampling=0))
    assert picture(tmp_path, encoded("PNG", framed[40:]))
    assert reason(tmp_path, encoded("JPEG", framed[40:], quality=95, subsampling=0)) == "damaged"


# Anything else


def mangled(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, with some bytes changed, some inserted, some doubled: one of these, or several."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place, count = int(rng.integers(0, len(data))), int(rng.integers(1, 20))
        match int(rng.integers(0, 5)):
            case 0:
                del data[place:]
            case 1:
                for spot in rng.integers(0, len(data), count):
                    data[spot] = int(rng.integers(0, 256))
            case 2:
                data[place:place] = rng.bytes(count)
            case 3:
                data[place:place] = data[place : place + 50 * count]
            case 4:  # where headers are
                data[int(rng.integers(0, min(64, len(data))))] = int(rng.choice([0, 1, 127, 128, 255]))
        if not data:
            break
    return bytes(data)


@pytest.mark.parametrize("kind", [*WRITTEN, *OTHERS])
def test_mangled_files_give_a_picture_or_a_reason(kind: str, tmp_path: Path) -> None:
    """Of every format that Pillow writes, whether we read it or not."""
    y, x = np.mgrid[:24, :32]
    content = encoded(kind, Image.fromarray(np.stack([x * 7, y * 9, x * y], -1).astype(np.uint8)))
    rng = np.random.default_rng([0, *kind.encode()])
    settings = DecodeSettings(min_side=1, max_pixels=1_000_000)
    for _ in range(60):
        result = outcome(tmp_path, mangled(content, rng), settings)
        if isinstance(result, Decoded):
            assert result.pixels.dtype == np.uint8
            assert result.pixels.shape[2:] == (3,)
            assert result.pixels.size > 0


def test_mangled_photos(tmp_path: Path) -> None:
    """Real files, with the metadata that cameras and agencies leave in them."""
    shared = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
    photos = sorted((shared / "data" / "lfw_small").glob("*/*.jpg"))[::60]
    if not photos:
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    rng = np.random.default_rng(1)
    for photo in photos:
        content = photo.read_bytes()
        assert picture(tmp_path, content).pixels.shape == (250, 250, 3)
        for _ in range(20):
            outcome(tmp_path, mangled(content, rng))


def test_the_outcome_depends_on_nothing_but_the_bytes(tmp_path: Path) -> None:
    rng, content = np.random.default_rng(2), encoded("TIFF", Image.new("RGB", (20, 20), "red"), compression="tiff_lzw")
    for _ in range(20):
        bad = mangled(content, rng)
        one, two = outcome(tmp_path, bad), outcome(tmp_path, bad)
        if isinstance(one, tuple):
            assert one == two
