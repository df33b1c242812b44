from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from references.images import png_bytes, tiff_rgb16_bytes
from segkit.datasets import read_image
from segkit.datasets._images import image_array, mask_array
from segkit.errors import DataError, MissingFileError


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


def test_wide_masks_are_not_narrowed(tmp_path):
    path = save(tmp_path / "m.png", IDS.astype(np.uint16) * 256)
    with pytest.raises(DataError, match=r"m\.png has pixels of the type 'I;16'.*8-bit grey"):
        mask_array(path)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rgb16.png", png_bytes(16, 2, 1, 1, [b"\x12\x34" * 3])),
        ("rgba16.png", png_bytes(16, 6, 1, 1, [b"\x12\x34" * 4])),
        ("la16.png", png_bytes(16, 4, 1, 1, [b"\x12\x34" * 2])),
        ("rgb16.tif", tiff_rgb16_bytes(2, 2, 0x1234)),
    ],
)
def test_sixteen_bit_colour_is_not_narrowed(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    for read in (image_array, mask_array):
        with pytest.raises(DataError, match=rf"{name}.*16 bits.*narrow"):
            read(tmp_path / name)


def test_pixel_types_without_meaning_here(tmp_path):
    Image.new("CMYK", (3, 3)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"'CMYK'.*RGB"):
        image_array(tmp_path / "a.jpg")
    Image.new("I", (3, 3)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="'I'"):
        image_array(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "webp", "gif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path, ending, share):
    path = save(tmp_path / f"a.{ending}", np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=rf"cannot read .*a\.{ending}.*complete"):
        image_array(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow warns of tags that it skips
def test_damaged_bytes_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(0)
    for ending in ("png", "jpg", "bmp", "tif", "gif", "webp"):
        path = save(tmp_path / f"a.{ending}", RGB)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            damaged = data.copy()
            damaged[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            for read in (image_array, mask_array):
                try:
                    read(path)
                except DataError as error:
                    assert f"a.{ending}" in str(error)  # noqa: PT017


def test_several_images_in_one_file(tmp_path):
    first, second = Image.fromarray(IDS), Image.fromarray(IDS + 1)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(DataError, match="holds 2 images"):
        image_array(tmp_path / "a.tif")


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
