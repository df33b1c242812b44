from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from references.images import png_bytes, tiff_rgb16_bytes
from segkit.datasets import read_image
from segkit.datasets._images import image_array, image_header, mask_array
from segkit.errors import DataError, MissingExtraError, MissingFileError


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "PNG"])
def test_rgb_of_every_lossless_format(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    save(path, RGB, **({"lossless": True} if ending == "webp" else {}))
    image = read_image(path)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 6, 9)
    assert (image.permute(1, 2, 0).numpy() == RGB).all()
    image[0, 0, 0] = 1  # writable


def test_jpeg(tmp_path):
    save(tmp_path / "a.jpg", np.full((16, 16, 3), 90, np.uint8), quality=95)
    assert (read_image(str(tmp_path / "a.jpg")).int() - 90).abs().max() <= 2


def test_channels_and_types_are_the_files(tmp_path):
    grey = save(tmp_path / "l.png", RGB[..., 0])
    alpha = save(tmp_path / "rgba.png", np.dstack([RGB, RGB[..., :1]]))
    wide = save(tmp_path / "i16.png", RGB[..., 0].astype(np.uint16) * 257)
    wide_tiff = save(tmp_path / "i16.tif", RGB[..., 0].astype(np.uint16) * 257)
    real = save(tmp_path / "f.tif", RGB[..., 0].astype(np.float32) / 7 - 3)
    bit = save(tmp_path / "bit.png", RGB[..., 0] > 100)
    assert (image_array(grey)[..., 0] == RGB[..., 0]).all()
    assert image_array(alpha).shape == (6, 9, 4)
    for path in (wide, wide_tiff):
        assert image_array(path).dtype == np.uint16
        assert (image_array(path)[..., 0] == RGB[..., 0].astype(np.uint16) * 257).all()
    assert image_array(real).dtype == np.float32
    assert (image_array(real)[..., 0] == RGB[..., 0].astype(np.float32) / 7 - 3).all()
    assert set(np.unique(image_array(bit))) == {0, 255}


def test_a_palette_image_is_its_colours(tmp_path):
    picture = Image.fromarray(IDS % 3).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "p.png")
    assert (image_array(tmp_path / "p.png")[0, :3] == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]).all()


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "gif"])
def test_mask_ids_from_grey(tmp_path, ending):
    assert (mask_array(save(tmp_path / f"m.{ending}", IDS)) == IDS).all()


def test_mask_ids_from_a_palette_are_its_indices(tmp_path):
    picture = Image.fromarray(IDS)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 36, np.uint8).tolist())
    picture.save(tmp_path / "p.png")
    mask = mask_array(tmp_path / "p.png")
    assert mask.dtype == np.uint8
    assert (mask == IDS).all()


@pytest.mark.parametrize("color_type", [0, 3])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_mask_ids_of_few_bits_are_what_was_stored(tmp_path, bits, color_type):
    # Pillow spreads grey levels of 2 and 4 bits over 0..255: id 1 of a 4-bit mask would read as 17.
    ids = np.arange(8).reshape(1, 8) % 2**bits
    packed = np.packbits(((ids[..., None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)).tobytes()
    data = png_bytes(bits, color_type, 8, 1, [packed])
    if color_type == 3:
        palette = png_palette(2**bits)
        at = data.index(b"IDAT") - 4
        data = data[:at] + palette + data[at:]
    (tmp_path / "m.png").write_bytes(data)
    mask = mask_array(tmp_path / "m.png")
    assert mask.dtype == np.uint8
    assert (mask == ids).all()


def png_palette(size):
    import struct
    import zlib

    data = bytes(range(3 * size))
    return struct.pack(">I", len(data)) + b"PLTE" + data + struct.pack(">I", zlib.crc32(b"PLTE" + data))


def test_colour_masks_only_where_asked(tmp_path):
    path = save(tmp_path / "m.png", RGB)
    with pytest.raises(DataError, match=r"m\.png is a colour image \(RGB\).*encode"):
        mask_array(path)
    assert (mask_array(path, colors=True) == RGB).all()


def test_ids_in_three_equal_channels(tmp_path):
    path = save(tmp_path / "m.png", np.dstack([IDS] * 3))
    assert (mask_array(path) == IDS).all()
    assert mask_array(path, colors=True).shape == (3, 4, 3)


def test_alpha_that_hides_nothing_is_passed_over(tmp_path):
    opaque, clear = np.full((6, 9), 255, np.uint8), np.zeros((6, 9), np.uint8)
    clear[2:] = 255
    path = save(tmp_path / "m.png", np.dstack([RGB, opaque]))
    assert (mask_array(path, colors=True) == RGB).all()
    path = save(tmp_path / "la.png", np.dstack([RGB[..., 0], opaque]))
    assert (mask_array(path) == RGB[..., 0]).all()
    path = save(tmp_path / "hidden.png", np.dstack([RGB, clear]))
    with pytest.raises(DataError, match=r"hidden\.png has alpha, and 18 pixels in it that are not opaque.*without"):
        mask_array(path, colors=True)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_wide_masks_are_not_narrowed(tmp_path, ending):
    mask = mask_array(save(tmp_path / f"m.{ending}", IDS.astype(np.uint16) * 256))
    assert mask.dtype == np.uint16
    assert (mask == IDS.astype(np.uint16) * 256).all()


def test_masks_of_32_bits_and_whole_floats(tmp_path):
    for name, array in (("i.tif", IDS.astype(np.int32) * 70_000), ("f.tif", IDS.astype(np.float32))):
        mask = mask_array(save(tmp_path / name, array))
        assert mask.dtype == np.int32
        assert (mask == array).all()
    with pytest.raises(DataError, match=r"f\.tif holds float32 with 1 pixel that are no whole number.*interpolation"):
        mask_array(save(tmp_path / "f.tif", np.array([[0.5, 1]], np.float32)))
    with pytest.raises(DataError, match="no whole number"):
        mask_array(save(tmp_path / "f.tif", np.array([[np.nan, 1]], np.float32)))


WIDE = [
    ("rgb16.png", png_bytes(16, 2, 1, 1, [b"\x12\x34" * 3]), (1, 1, 3)),
    ("rgba16.png", png_bytes(16, 6, 1, 1, [b"\x12\x34" * 4]), (1, 1, 4)),
    ("la16.png", png_bytes(16, 4, 1, 1, [b"\x12\x34" * 2]), (1, 1, 2)),
    ("rgb16.tif", tiff_rgb16_bytes(2, 2, 0x1234), (2, 2, 3)),
]


@pytest.mark.parametrize(("name", "data", "shape"), WIDE)
def test_sixteen_bit_colour_is_not_narrowed(tmp_path, name, data, shape):
    (tmp_path / name).write_bytes(data)
    image = image_array(tmp_path / name)
    assert image.dtype == np.uint16
    assert image.shape == shape
    assert (image == 0x1234).all()
    with pytest.raises(DataError, match=rf"{name}.*expected"):
        mask_array(tmp_path / name)


@pytest.mark.parametrize(("name", "data", "shape"), WIDE)
def test_sixteen_bit_colour_without_the_extra(tmp_path, name, data, shape, monkeypatch):
    (tmp_path / name).write_bytes(data)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingExtraError, match=rf"{name} \(16-bit .*needs imagecodecs.*`images` extra"):
        image_array(tmp_path / name)
    assert image_header(tmp_path / name).dtype == np.uint16


def test_print_colours_are_refused(tmp_path):
    Image.new("CMYK", (3, 3)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"CMYK.*RGB"):
        image_array(tmp_path / "a.jpg")
    Image.new("CMYK", (3, 3)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif .*save it as grey or RGB"):
        image_array(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "gif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, ending, share):
    path = save(tmp_path / f"a.{ending}", np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=rf"cannot read .*a\.{ending}.*complete"):
        image_array(path)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animations_are_refused(tmp_path, ending):
    first, second = Image.fromarray(IDS), Image.fromarray(IDS + 100)
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
    with pytest.raises(DataError, match=rf"a\.{ending} holds 2 images \(an animation\); expected one"):
        image_array(tmp_path / f"a.{ending}")


def test_the_first_picture_of_a_camera_file(tmp_path):
    # Phones write JPEG files with a second, smaller picture (MPO).
    large, small = Image.fromarray(np.full((16, 24, 3), 90, np.uint8)), Image.new("RGB", (8, 8))
    large.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small])
    assert image_array(tmp_path / "a.jpg").shape == (16, 24, 3)
    assert image_header(tmp_path / "a.jpg").size == (16, 24)


def test_no_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"no file .*a\.png"):
        read_image(tmp_path / "a.png")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(DataError, match="is a folder; expected an image file"):
        image_array(tmp_path)


def test_text_is_no_image(tmp_path):
    (tmp_path / "a.png").write_text("<svg/>")
    with pytest.raises(DataError, match="cannot read"):
        image_array(tmp_path / "a.png")


def test_names_with_spaces_and_other_letters(tmp_path):
    folder = tmp_path / "Straßen bilder 街"
    folder.mkdir()
    assert image_array(save(folder / "ein bild ñ.png", RGB)).shape == (6, 9, 3)


def test_a_picture_too_large_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DataError, match=r"a\.png is too large"):
        image_array(path)
