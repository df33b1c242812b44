"""One small valid file of each kind that is read, and ways to damage it."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 31, 3), np.uint8)
WIDE = RNG.integers(0, 65536, (24, 31, 3), np.uint16)


def _pillow(array, kind, **options):
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(file, kind, **options)
    return file.getvalue()


def _tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def _numpy(save, *args, **arrays):
    file = io.BytesIO()
    save(file, *args, **arrays)
    return file.getvalue()


def _palette():
    picture = Image.fromarray(RGB[..., 0] % 7)
    picture.putpalette(list(range(21)))
    return picture


def _exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a street"
    return exif


def images():
    """Name and bytes of one file of each kind."""
    grey, picture = RGB[..., 0], Image.fromarray(RGB)
    return {
        "rgb.png": _pillow(RGB, "PNG", exif=_exif()),
        "palette.png": _pillow(_palette(), "PNG", transparency=2),
        "bits.png": _pillow(_palette(), "PNG", bits=4),
        "grey16.png": _pillow(WIDE[..., 0], "PNG"),
        "rgb16.png": bytes(imagecodecs.png_encode(WIDE)),
        "rgb.jpg": _pillow(RGB, "JPEG", exif=_exif()),
        "progressive.jpg": _pillow(RGB, "JPEG", progressive=True),
        "camera.jpg": _pillow(picture, "MPO", save_all=True, append_images=[picture]),
        "rgb.bmp": _pillow(RGB, "BMP"),
        "palette.bmp": _pillow(_palette(), "BMP"),
        "lossless.webp": _pillow(RGB, "WEBP", lossless=True),
        "lossy.webp": _pillow(RGB, "WEBP", exif=_exif()),
        "grey.gif": _pillow(grey, "GIF"),
        "rgb.tif": _pillow(RGB, "TIFF", exif=_exif()),
        "lzw.tif": _pillow(RGB, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": _pillow(RGB, "TIFF", compression="jpeg"),
        "fax.tif": _pillow(grey > 100, "TIFF", compression="group4"),
        "float.tif": _pillow(grey.astype(np.float32), "TIFF"),
        "rgb16.tif": _tiff(WIDE, photometric="rgb"),
        "rgb16-lzw.tif": _tiff(WIDE, photometric="rgb", compression="lzw", predictor=True),
        "rgb16-deflate.tif": _tiff(WIDE, photometric="rgb", compression="deflate"),
        "rgb16-packbits.tif": _tiff(WIDE, photometric="rgb", compression="packbits"),
        "rgb16-zstd.tif": _tiff(WIDE, photometric="rgb", compression="zstd", tile=(16, 16)),
        "rgb16-lzma.tif": _tiff(WIDE, photometric="rgb", compression="lzma"),
        "tiles.tif": _tiff(WIDE, photometric="rgb", tile=(16, 16), compression="lzw"),
        "planes.tif": _tiff(WIDE.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"),
        "pages.tif": _tiff(WIDE.transpose(2, 0, 1), photometric="minisblack", compression="lzw"),
        "big.tif": _tiff(WIDE, photometric="rgb", bigtiff=True, compression="deflate"),
        "floats.tif": _tiff(WIDE.astype(np.float32), photometric="rgb", compression="lzw", predictor=True),
        "doubles.tif": _tiff(WIDE[..., 0].astype(np.float64), compression="deflate", predictor=True),
        "wide.npy": _numpy(np.save, WIDE),
        "double.npy": _numpy(np.save, WIDE[..., 0] / 7),
        "ids.npz": _numpy(np.savez, image=RGB, mask=grey),
        "packed.npz": _numpy(np.savez_compressed, WIDE),
    }


def outlines():
    """Name and bytes of one file of each kind that holds outlines, for pictures of 24x31."""
    frame = {"id": 1, "file_name": "a.png", "height": 24, "width": 31}
    size = [24, 31]
    size = [24, 31]
    areas = [
        {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [[1, 1, 9.5, 2, 8, 9]]},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 5,
            "iscrowd": 1,
            "segmentation": {"size": size, "counts": [9, 735]},
        },
        {"id": 3, "image_id": 1, "category_id": 5, "segmentation": {"size": size, "counts": "9of0"}},
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]
    street = {
        "imgHeight": 24,
        "imgWidth": 31,
        "objects": [
            {"label": "road", "polygon": [[0, 9], [30, 9], [30, 23], [0, 23]]},
            {"label": "cargroup", "polygon": [[3, 3], [9, 3], [9, 11]]},
            {"label": "sky", "polygon": [[0, 0], [30, 0]], "deleted": 1},
        ],
    }
    return {
        "coco.json": json.dumps({"images": [frame], "annotations": areas, "categories": categories}).encode(),
        "street.json": json.dumps(street).encode(),
        "yolo.txt": b"0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.2 0.3 0.9 0.3 0.9 0.9 0.25 0.8\n",
    }


def damaged(data, rng):
    """``data`` cut off, with bits flipped, bytes set, a part removed, doubled or moved, or numbers made huge."""
    kind = rng.integers(7)
    data = bytearray(data)
    at = int(rng.integers(len(data)))
    near = int(rng.integers(min(len(data), 200)))  # most of what says how to decode stands at the start
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for place in (at, near, *rng.integers(0, len(data), int(rng.integers(4)))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for place in rng.integers(0, min(len(data), 200), int(rng.integers(1, 8))):
            data[place] = int(rng.integers(256))
    elif kind == 3:
        del data[at : at + int(rng.integers(1, 40))]
    elif kind == 4:
        data[at:at] = data[near : near + int(rng.integers(1, 40))]
    elif kind == 5:
        data[near : near + 4] = struct.pack("<I", int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1])))
    else:
        data[at : at + 8] = rng.bytes(8)
    return bytes(data)


def repaired_png(data):
    """A damaged PNG with checksums that fit again, so that the damage reaches the decoder."""
    import zlib

    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + length > len(data):
            return bytes(out) + data[at:]
        chunk = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return bytes(out) + data[at:]


def npy_with_header(header, body=b""):
    """An ``.npy`` file with a header of one's own."""
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def zipped(**members):
    """A zip file of raw members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def tiff_bomb(codec):
    """A TIFF of 8x8 pixels with 2 MiB in its only strip once that is unpacked."""
    zeros = bytes(2**21)
    data = {
        "deflate": lambda: imagecodecs.zlib_encode(zeros),
        "zstd": lambda: imagecodecs.zstd_encode(zeros),
        "lzma": lambda: imagecodecs.lzma_encode(zeros),
        "lzw": lambda: imagecodecs.lzw_encode(zeros),
        "packbits": lambda: bytes([129, 0]) * 2**14,
    }[codec]()
    file = bytearray(_tiff(np.zeros((8, 8, 3), np.uint16), photometric="rgb", compression=codec))
    place = len(file)
    with tifffile.TiffFile(io.BytesIO(bytes(file))) as tiff:
        entries = {number: tiff.pages[0].tags[number].offset for number in (273, 279)}
    for number, value in ((273, place), (279, len(data))):
        struct.pack_into("<HHII", file, entries[number], number, 4, 1, value)
    return bytes(file) + data
