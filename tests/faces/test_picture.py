"""Pictures of every kind come out as one: upright 8-bit RGB; and what is no picture gives one line."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from facefact.faces import open_picture
from facefact.faces.files import heif_is_here
from facefact.faces.picture import PictureError, read_picture
from facefact.types import UserError

HEIGHT, WIDTH = 20, 30


def scene() -> np.ndarray:
    """(20, 30, 3) with four different corners."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 8, y * 12, 255 - x * 4 - y * 4], -1).astype(np.uint8)


def one_line(call: object, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    """A camera held in any of eight ways gives the same picture."""
    stored_as = {  # what the sensor saw, for the picture to be upright after the tag is obeyed
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_as[orientation](scene())))
    for suffix in ("png", "tiff", "webp"):
        stored.save(tmp_path / f"turned.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
        np.testing.assert_array_equal(open_picture(tmp_path / f"turned.{suffix}"), scene())


def test_damaged_metadata_do_not_spoil_the_picture(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff nonsense")
    np.testing.assert_array_equal(open_picture(tmp_path / "a.png"), scene())


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "deep.png"), np.repeat(grey[..., None], 3, -1))


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / "dark.png")
    assert open_picture(tmp_path / "dark.png").max() <= 1


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    """Written by hand, PIL does not write it."""
    rows = b"".join(b"\x00" + (row.astype(">u2") * 257).tobytes() for row in scene())
    (tmp_path / "deep.png").write_bytes(png(WIDTH, HEIGHT, rows, depth=16))
    np.testing.assert_array_equal(open_picture(tmp_path / "deep.png"), scene())


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LAB", "HSV", "F", "I", "LA", "RGBA", "RGBX"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(scene())
    image = image.convert("L").convert(mode) if mode in ("F", "I", "LA") else convert(image, mode)
    picture = open_picture(image)
    assert picture.dtype == np.uint8
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.std() > 10


def convert(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.merge("LAB", image.split())
    return image.convert(mode)


def test_grey_and_float_grey_agree() -> None:
    grey = Image.fromarray(scene()).convert("L")
    np.testing.assert_array_equal(open_picture(grey), open_picture(grey.convert("F")))
    np.testing.assert_array_equal(open_picture(grey), open_picture(grey.convert("I")))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.fromarray(scene()).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(open_picture(tmp_path / "print.jpg").astype(int) - scene()).mean() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), (0,) * len(mode))
    assert (open_picture(image) == 255).all()
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert abs(int(open_picture(half)[0, 0, 0]) - 127) <= 1


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(scene()).quantize(16)
    image.save(tmp_path / "palette.png", transparency=image.getpixel((0, 0)))
    assert (open_picture(tmp_path / "palette.png")[0, 0] == 255).all()


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_picture(tmp_path / "moving.gif")[4, 4].tolist() == [255, 0, 0]


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    assert open_picture(tmp_path / "dot.png").tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_huge_ones_are_shrunk(suffix: str, tmp_path: Path) -> None:
    Image.new("RGB", (1200, 300), "red").save(tmp_path / f"wide.{suffix}")
    picture = open_picture(tmp_path / f"wide.{suffix}", max_side=400)
    assert picture.shape == (100, 400, 3)
    assert abs(picture.astype(int) - (255, 0, 0)).max() < 4


@pytest.mark.parametrize(
    ("size", "most", "seen"),
    [
        ((1000, 750), 510, (375, 500)),  # as a phone's 4000 px for 2048: half of it is nearly as much
        ((1000, 750), 520, (390, 520)),
        ((900, 2), 16, (1, 16)),
    ],
)
def test_a_jpeg_is_decoded_at_the_size_that_is_looked_at(
    size: tuple[int, int], most: int, seen: tuple[int, int], tmp_path: Path
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "phone.jpg")
    picture = read_picture(tmp_path / "phone.jpg", max_side=most)
    assert picture.pixels.shape == (*seen, 3)
    assert picture.original == size[::-1]
    assert abs(picture.pixels.astype(int) - (255, 0, 0)).max() < 4


def test_the_callers_image_is_left_alone() -> None:
    image = Image.new("RGBA", (1200, 300), "red")
    open_picture(image, max_side=100)
    assert (image.size, image.mode) == ((1200, 300), "RGBA")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_arrays(dtype: type, shape: tuple[int, ...]) -> None:
    top = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    picture = open_picture(np.full(shape, top, dtype))
    assert picture.shape == (5, 7, 3)
    assert (picture == 255).all()


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 5, 7, 3), np.uint8), np.zeros((5, 7, 2), np.uint8), np.zeros((0, 7, 3), np.uint8)]
    + [np.full((5, 7), 2.0), np.full((5, 7), np.nan), np.zeros((5, 7), np.int64), np.zeros((5, 7), complex)],
)
def test_arrays_that_are_no_picture(array: np.ndarray) -> None:
    one_line(lambda: open_picture(array))


def test_files_that_are_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("I am a picture, honestly. " * 40)
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(64))
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.png").mkdir()
    one_line(lambda: open_picture(tmp_path / "text.png"), "text.png", "not a picture")
    one_line(lambda: open_picture(tmp_path / "empty.jpg"), "empty")
    one_line(lambda: open_picture(tmp_path / "phone.heic"), "HEI")
    one_line(lambda: open_picture(tmp_path / "program.eps"), "not a picture")
    one_line(lambda: open_picture(tmp_path / "folder.png"), "folder")
    one_line(lambda: open_picture(tmp_path / "nobody.png"), "no such file")
    one_line(lambda: open_picture("a\x00b.png"))
    one_line(lambda: open_picture("x" * 5000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    one_line(lambda: open_picture(tmp_path / "pipe.png"), "regular file")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "gif", "bmp"])
def test_truncated_and_corrupted_files(suffix: str, tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed: a picture or one line, never another error."""
    noise = np.random.default_rng(0)
    path = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise.integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    outcomes = []
    for trial in range(40):
        data = bytearray(whole[: int(noise.integers(1, len(whole)))] if trial % 2 else whole)
        for place in noise.integers(0, len(data), 5):
            data[place] = noise.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            outcomes.append(str(open_picture(path).dtype))
        except UserError as error:
            outcomes.append(str(error))
    assert not any("\n" in outcome for outcome in outcomes)
    path.write_bytes(whole[: len(whole) // 2])
    if suffix != "gif":  # which may end after any line
        one_line(lambda: open_picture(path))


def png(width: int, height: int, rows: bytes, *, depth: int = 8) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(12000, 11000), (20000, 10000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(*size, bytes(1000)))
    one_line(lambda: open_picture(tmp_path / "bomb.png"), "pixels", "shrink")


def test_limits_can_be_set(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    one_line(lambda: open_picture(tmp_path / "a.png", max_pixels=599), "30x20")
    one_line(lambda: open_picture(tmp_path / "a.png", max_bytes=10), "MB")
    assert open_picture(tmp_path / "a.png", max_pixels=600).shape == (20, 30, 3)


# Bytes, and what else is known of a picture


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(scene())).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_bytes_are_read_as_their_file_is(kind: str, tmp_path: Path) -> None:
    content = encoded(kind)
    (tmp_path / "a").write_bytes(content)
    np.testing.assert_array_equal(open_picture(content), open_picture(tmp_path / "a"))
    assert read_picture(content).format == kind


def reason(source: object, **options: object) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.reason) == (str(caught.value), caught.value.reason)
    return caught.value.reason


def test_messages_use_the_name_that_they_are_given(tmp_path: Path) -> None:
    one_line(lambda: open_picture(b"", name="shard-0.tar/7.jpg"), "shard-0.tar/7.jpg: the file is empty")
    one_line(lambda: open_picture(b"text", name="row 7"), "row 7: is not a picture")
    one_line(lambda: open_picture(tmp_path / "gone.png", name="row 7"), "row 7: there is no such file")
    one_line(lambda: open_picture(scene(), name="row 7", max_pixels=1), "row 7: 30x20")
    one_line(lambda: open_picture(b"text"), "the bytes: is not")


def test_reasons_can_be_counted(tmp_path: Path) -> None:
    whole = encoded("JPEG")
    assert reason(b"") == "empty"
    assert reason(b"I am a picture, honestly") == "not a picture"
    assert reason(encoded("ICO", Image.new("RGB", (32, 32)))) == "not a picture"
    assert reason(b"\x00\x00\x00\x18ftypheic" + bytes(64)) == ("damaged" if heif_is_here() else "not a picture")
    assert reason(whole, max_bytes=len(whole) - 1) == "too many bytes"
    assert reason(whole, max_pixels=HEIGHT * WIDTH - 1) == "too many pixels"
    assert reason(png(60000, 60000, b"")) == "too many pixels"
    assert reason(tmp_path) == "unreadable"
    assert reason(tmp_path / "gone") == "unreadable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_what_begins_as_a_picture_is_damaged_however_short(kind: str) -> None:
    whole = encoded(kind)
    assert {reason(whole[:length]) for length in (12, len(whole) // 2)} == {"damaged"}


def test_no_other_part_of_the_program_makes_us_accept_half_a_picture() -> None:
    whole = encoded("JPEG", Image.fromarray(scene()).resize((300, 200)))
    try:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        assert reason(whole[: len(whole) // 2]) == "damaged"
        assert ImageFile.LOAD_TRUNCATED_IMAGES
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_the_original_size_is_the_upright_one(kind: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = read_picture(encoded(kind, Image.new("RGB", (90, 60)), exif=exif), max_side=30)
    assert picture.original == ((60, 90) if turn < 5 else (90, 60))
    assert picture.pixels.shape[:2] == ((20, 30) if turn < 5 else (30, 20))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_are_known_as_such(kind: str) -> None:
    if kind not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow writes no {kind}")
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    moving = read_picture(encoded(kind, frames[0], save_all=True, append_images=frames[1:]))
    assert moving.animated
    assert np.abs(moving.pixels[8, 8].astype(int) - (255, 0, 0)).max() < 8
    assert not read_picture(encoded(kind, frames[0])).animated


def test_pages_are_no_animation() -> None:
    pages = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for kind in ("TIFF", "MPO"):
        picture = read_picture(encoded(kind, pages[0], save_all=True, append_images=pages[1:]))
        assert not picture.animated
        assert np.abs(picture.pixels[8, 8].astype(int) - (255, 0, 0)).max() < 8
