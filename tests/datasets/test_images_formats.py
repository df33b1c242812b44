"""Images of any depth and number of channels, in every format: equal to what was written, and to the header."""

from __future__ import annotations

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from references.damage import images, npy_with_header, tiff_bomb, zipped
from segkit.datasets import image_header, read_image
from segkit.datasets._images import image_array, mask_array
from segkit.errors import DataError, MissingExtraError, MissingFileError, ShapeError

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (5, 7, 6), np.uint16)


def header_agrees(path, image):
    header = image_header(path)
    return (header.size, header.channels, header.dtype) == (image.shape[:2], image.shape[2], image.dtype)


@pytest.mark.parametrize("name", images())
def test_a_header_says_what_will_be_read(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(images()[name])
    assert header_agrees(path, image_array(path))
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(path.suffix[1:], path.suffix[1:].upper())
    assert image_header(path).format == kind


TIFFS = {
    "rgb16": (WIDE[..., :3], {"photometric": "rgb"}),
    "rgb16-big-endian": (WIDE[..., :3], {"photometric": "rgb", "byteorder": ">"}),
    "rgb16-lzw": (WIDE[..., :3], {"photometric": "rgb", "compression": "lzw", "predictor": True}),
    "rgb16-tiles": (WIDE[..., :3], {"photometric": "rgb", "tile": (16, 16), "compression": "deflate"}),
    "rgb16-strips": (WIDE[..., :3], {"photometric": "rgb", "rowsperstrip": 2}),
    "rgb16-big": (WIDE[..., :3], {"photometric": "rgb", "bigtiff": True}),
    "rgba16": (WIDE[..., :4], {"photometric": "rgb", "extrasamples": [2]}),
    "rgb8-and-infrared": (WIDE[..., :4].astype(np.uint8), {"photometric": "rgb", "extrasamples": [0]}),
    "rgb8-and-premultiplied": (WIDE[..., :4].astype(np.uint8), {"photometric": "rgb", "extrasamples": [1]}),
    "rgb8-and-two-more": (WIDE[..., :5].astype(np.uint8), {"photometric": "rgb", "extrasamples": [0, 0]}),
    "rgb8": (WIDE[..., :3].astype(np.uint8), {"photometric": "rgb", "compression": "lzw"}),
    "six": (WIDE, {"photometric": "minisblack", "planarconfig": "contig"}),
    "two": (WIDE[..., :2].astype(np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}),
    "float-rgb": (WIDE[..., :3].astype(np.float32) / 7, {"photometric": "rgb", "compression": "zstd"}),
    "float-grey": (WIDE[..., :1].astype(np.float32) / 7, {}),
    "grey16": (WIDE[..., :1], {}),
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(tmp_path, name):
    array, options = TIFFS[name]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array if array.shape[2] > 1 else array[..., 0], **options)
    image = image_array(path)
    assert image.dtype == array.dtype
    assert np.array_equal(image, array)
    assert header_agrees(path, image)


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("form", ["pages", "planes"])
def test_planes_and_pages_are_channels(tmp_path, count, dtype, form):
    planes = WIDE.transpose(2, 0, 1)[:count].astype(dtype)
    path = tmp_path / "a.tif"
    if form == "pages":
        tifffile.imwrite(path, planes, photometric="minisblack")
    else:
        color = "rgb" if count == 3 else "minisblack"
        tifffile.imwrite(path, planes, photometric=color, planarconfig="separate", compression="lzw")
    assert np.array_equal(image_array(path), planes.transpose(1, 2, 0))
    assert header_agrees(path, image_array(path))


def test_the_levels_of_a_pyramid_are_passed_over(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(WIDE[..., :3], photometric="rgb")
        writer.write(WIDE[::2, ::2, :3], photometric="rgb", subfiletype=1)
    assert np.array_equal(image_array(path), WIDE[..., :3])


def test_pages_that_differ_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(WIDE[..., 0])
        writer.write(WIDE[:2, :, 0])
    with pytest.raises(DataError, match=r"a\.tif holds 2 pictures that differ in size or type"):
        image_array(path)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32, np.float16, np.float64])
def test_other_numbers_become_float32_where_it_holds_them(tmp_path, dtype):
    values = np.array([[0, 1, 100], [3, 2, 127]], dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    np.save(tmp_path / "a.npy", values)
    for path in (tmp_path / "a.tif", tmp_path / "a.npy"):
        image = image_array(path)
        assert image.dtype == np.float32
        assert image[..., 0].tolist() == values.tolist()


@pytest.mark.parametrize("values", [np.array([[2**24 + 1]]), np.array([[-(2**40)]]), np.array([[1e39]])])
def test_numbers_that_float32_does_not_hold_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=r"a\.npy holds .*float32"):
        image_array(tmp_path / "a.npy")


def test_black_is_0_where_a_file_says_white_is(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", WIDE[..., 0], photometric="miniswhite")
    assert np.array_equal(image_array(tmp_path / "a.tif")[..., 0], 65535 - WIDE[..., 0])


def test_a_codec_that_is_not_read_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", WIDE[..., :3], photometric="rgb", compression="jpegxl")
    with pytest.raises(DataError, match=r"a\.tif is compressed by method \d+.*16-bit pixels of 3 channels.*deflate"):
        image_array(tmp_path / "a.tif")


def test_tiff_without_the_extra(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "wide.tif", WIDE, photometric="minisblack", planarconfig="contig")
    Image.fromarray(WIDE[..., :3].astype(np.uint8)).save(tmp_path / "plain.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"wide\.tif \(16-bit .*6 .*needs tifffile: run `pip install tifffile"):
        image_array(tmp_path / "wide.tif")
    assert image_header(tmp_path / "wide.tif").channels == 6
    assert image_array(tmp_path / "plain.tif").shape == (5, 7, 3)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
    def test_image_and_mask_are_turned_as_pillow_turns_them(self, tmp_path, ending, orientation):
        ids = (np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).repeat(8, 0).repeat(8, 1)
        path = tmp_path / f"a.{ending}"
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.dstack([ids, 255 - ids, ids]))
        stored.save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
        expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        assert np.array_equal(image_array(path), expected)
        assert np.array_equal(mask_array(path, colors=True), expected)
        header = image_header(path)
        assert header.orientation == orientation
        assert header.size == expected.shape[:2]

    @pytest.mark.parametrize("orientation", [3, 6])
    def test_of_a_file_that_pillow_does_not_read(self, tmp_path, orientation):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, WIDE[..., :3], photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        expected = np.rot90(WIDE[..., :3], {3: 2, 6: -1}[orientation])
        assert np.array_equal(image_array(path), expected)

    def test_of_a_wide_png(self, tmp_path):
        import imagecodecs

        data = bytes(imagecodecs.png_encode(np.ascontiguousarray(WIDE[..., :3])))
        exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
        chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
        assert image_header(tmp_path / "a.png").orientation == 6
        assert np.array_equal(image_array(tmp_path / "a.png"), np.rot90(WIDE[..., :3], -1))

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
    def test_damaged_exif_turns_nothing(self, tmp_path):
        Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert image_array(tmp_path / "a.jpg").shape == (4, 8, 3)


class TestArrays:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, ">u2", ">f4"])
    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 6)])
    def test_round_trip(self, tmp_path, dtype, shape):
        array = RNG.integers(0, 255, shape).astype(dtype)
        np.save(tmp_path / "a.npy", array)
        np.save(tmp_path / "f.npy", np.asfortranarray(array))
        np.savez_compressed(tmp_path / "a.npz", array)
        for name in ("a.npy", "f.npy", "a.npz"):
            image = image_array(tmp_path / name)
            assert np.array_equal(image, array.reshape(5, 7, -1))
            assert image.dtype.isnative
            assert header_agrees(tmp_path / name, image)
            assert read_image(tmp_path / name).shape == image.transpose(2, 0, 1).shape

    def test_booleans(self, tmp_path):
        np.save(tmp_path / "a.npy", np.eye(3, dtype=bool))
        assert set(np.unique(image_array(tmp_path / "a.npy"))) == {0, 255}
        assert mask_array(tmp_path / "a.npy").tolist() == np.eye(3, dtype=int).tolist()

    def test_image_and_mask_in_one_file(self, tmp_path):
        np.savez(tmp_path / "a.npz", image=WIDE, label=np.eye(5, 7, dtype=np.int64), spacing=np.ones(3))
        assert np.array_equal(image_array(tmp_path / "a.npz"), WIDE)
        assert mask_array(tmp_path / "a.npz").dtype == np.int32
        np.savez(tmp_path / "b.npz", a=WIDE, b=WIDE)
        with pytest.raises(DataError, match=r"b\.npz holds a, b; expected one array, or one that is called 'image'"):
            image_array(tmp_path / "b.npz")

    def test_pickled_objects_are_refused_unread(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
        with pytest.raises(DataError, match=r"a\.npy holds values of the type 'object'"):
            image_array(tmp_path / "a.npy")
        np.savez(tmp_path / "a.npz", np.array([["x"]]))
        with pytest.raises(DataError, match=r"a\.npz holds values of the type '<U1'"):
            image_array(tmp_path / "a.npz")

    @pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5), (0, 4), ()])
    def test_other_shapes_are_refused(self, tmp_path, shape):
        np.save(tmp_path / "a.npy", np.zeros(shape))
        with pytest.raises(DataError, match=r"a\.npy has the shape .*expected \(H, W\) or \(H, W, C\)"):
            image_array(tmp_path / "a.npy")

    def test_channels_first_is_said(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((3, 40, 50)))
        with pytest.raises(DataError, match=r"looks like \(C, H, W\); .*transpose\(1, 2, 0\)"):
            image_array(tmp_path / "a.npy")

    def test_a_file_that_is_cut_off(self, tmp_path):
        np.save(tmp_path / "a.npy", WIDE)
        (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
        for read in (image_array, image_header, mask_array):
            with pytest.raises(DataError, match=r"a\.npy: it lacks 5 of the bytes.*complete"):
                read(tmp_path / "a.npy")


def png_head(width, height, bits=8, color_type=2):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


HUGE_NPY = npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }")
HUGE = {
    "huge.png": png_head(2**31 - 1, 2**31 - 1),
    "wide.png": png_head(100_000, 100_000, bits=16),
    "huge.bmp": images()["rgb.bmp"][:18] + struct.pack("<ii", 2**20, 2**20) + images()["rgb.bmp"][26:],
    "huge.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + images()["grey.gif"][10:],
    "huge.npy": HUGE_NPY,
    "huge.npz": zipped(image=HUGE_NPY),
    "bomb.npz": zipped(image=HUGE_NPY + bytes(10**7)),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_header_is_refused_before_anything_is_made(tmp_path, name):
    (tmp_path / name).write_bytes(HUGE[name])
    for read in (image_array, image_header, mask_array):
        with pytest.raises(DataError, match=rf"{name}.* (too large|cannot read)|cannot read .*{name}"):
            read(tmp_path / name)


@pytest.mark.parametrize("codec", ["deflate", "zstd", "lzma", "lzw", "packbits"])
def test_a_strip_gets_the_room_that_its_size_earns(tmp_path, codec):
    (tmp_path / "a.tif").write_bytes(tiff_bomb(codec))
    try:
        assert image_array(tmp_path / "a.tif").shape == (8, 8, 3)
    except DataError as error:
        assert "cannot read" in str(error)  # noqa: PT017


def test_a_directory_with_a_tag_twice_is_refused(tmp_path):
    # Pillow took the first of two widths, and the header the second.
    data = bytearray(images()["float.tif"])
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        height = tiff.pages[0].tags[257].offset
    struct.pack_into("<H", data, height, 256)
    (tmp_path / "a.tif").write_bytes(bytes(data))
    for read in (image_array, image_header, mask_array):
        with pytest.raises(DataError, match=r"cannot read .*a\.tif: .*twice"):
            read(tmp_path / "a.tif")


def test_the_limit_is_pillows(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", WIDE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 17)
    with pytest.raises(DataError, match=r"a\.npy is too large.*5x7x6, and 34 pixels are the limit.*MAX_IMAGE_PIXELS"):
        image_array(tmp_path / "a.npy")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert image_array(tmp_path / "a.npy").shape == (5, 7, 6)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.png", b"", r"a\.png: it is empty \(0 bytes\)"),
        (
            "a.jpg",
            b"<html><body>",
            r"a\.jpg: its first bytes are b'<html><b'.*\(PNG, JPEG, .*complete \.jpg file",
        ),
        ("a.nii.gz", b"\x1f\x8b\x08", r"a\.nii\.gz is a volume; read it with `segkit\.datasets\.read_volume`"),
        ("a.tif", b"II*\0\0\0\0\0", "no picture in it"),
    ],
)
def test_what_is_no_image(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    for read in (image_array, image_header, mask_array):
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_the_ending_does_not_matter(tmp_path):
    (tmp_path / "a.jpg").write_bytes(images()["rgb.png"])
    assert image_header(tmp_path / "a.jpg").format == "PNG"
    assert image_array(tmp_path / "a.jpg").shape[2] == 3


class TestOneFileAChannel:
    def test_channels_follow_one_another(self, tmp_path):
        paths = [tmp_path / f"b{number}.tif" for number in range(3)]
        for number, path in enumerate(paths):
            Image.fromarray(WIDE[..., number]).save(path)
        image = read_image([str(path) for path in paths])
        assert image.dtype == torch.uint16
        assert np.array_equal(image.permute(1, 2, 0).numpy(), WIDE[..., :3])

    def test_what_does_not_fit_is_named(self, tmp_path):
        Image.fromarray(WIDE[..., 0]).save(tmp_path / "a.png")
        Image.fromarray(WIDE[:3, :, 0]).save(tmp_path / "b.png")
        Image.fromarray(WIDE[..., 0].astype(np.uint8)).save(tmp_path / "c.png")
        with pytest.raises(ShapeError, match=r"one size; got 5x7 in .*a\.png and 3x7 in .*b\.png"):
            read_image([tmp_path / "a.png", tmp_path / "b.png"])
        with pytest.raises(DataError, match=r"one type; got uint16 in .*a\.png and uint8 in .*c\.png"):
            read_image([tmp_path / "a.png", tmp_path / "c.png"])
        with pytest.raises(MissingFileError, match=r"no file .*d\.png"):
            read_image([tmp_path / "a.png", tmp_path / "d.png"])
        with pytest.raises(DataError, match="at least one file"):
            read_image([])
