"""Two folders of small pictures with their masks, and every fault that a check of data must find, planted in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (60, 80)
NAMES = ("ground", "leaf", "stem", "fruit")


@dataclass
class Folders:
    """`train` and `val` below `root`, each with `images` and `masks`; `planted` says which items have which fault."""

    root: Path
    planted: dict[str, set[str]] = field(default_factory=dict)

    def image(self, name: str, split: str = "train", ending: str = ".png") -> Path:
        return self.root / split / "images" / f"{name}{ending}"

    def mask(self, name: str, split: str = "train", ending: str = ".png") -> Path:
        return self.root / split / "masks" / f"{name}{ending}"

    def note(self, kind: str, *items: str) -> None:
        self.planted.setdefault(kind, set()).update(items)


def mask_of(seed: int, classes: int = len(NAMES)) -> np.ndarray:
    """Blobs of every class on ground, drawn without any interpolation; thick enough for a border to be one."""
    rng = np.random.default_rng((1, seed))
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    mask = np.zeros(SIZE, np.uint8)
    for value in range(1, classes):
        for _ in range(2):
            top, left = rng.integers(10, SIZE[0] - 10), rng.integers(10, SIZE[1] - 10)
            mask[(rows - top) ** 2 + (columns - left) ** 2 < rng.integers(60, 140)] = value
    mask[2:8, 4:40] = np.repeat(np.arange(classes, dtype=np.uint8), 36 // classes)  # so that none is covered wholly
    return mask


def image_of(seed: int, mask: np.ndarray) -> np.ndarray:
    """A picture that looks like no other: soft random light, and the mask's blobs in it."""
    rng = np.random.default_rng((2, seed))
    coarse = rng.integers(20, 200, (6, 8, 3), dtype=np.uint8)
    light = np.asarray(Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC), np.int16)
    noise = rng.integers(-8, 9, (*SIZE, 3))
    return np.clip(light + 12 * mask[:, :, None] + noise, 0, 255).astype(np.uint8)


def clean(root: Path, train: int = 30, val: int = 6) -> Folders:
    """Pictures in which nothing is wrong."""
    folders = Folders(root)
    for split, first, count in (("train", 0, train), ("val", 1000, val)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = mask_of(first + number)
            Image.fromarray(mask).save(folders.mask(f"plant_{number:02d}", split))
            Image.fromarray(image_of(first + number, mask)).save(folders.image(f"plant_{number:02d}", split))
    return folders


def planted(root: Path) -> Folders:
    """The same with one fault an item, and `planted` to say where."""
    folders = clean(root)
    for number, (kind, plant) in enumerate(FAULTS.items()):
        name = f"plant_{number + 2:02d}"
        plant(folders, name)
        folders.note(kind, name)
    _pairs(folders)
    _leaks(folders)
    return folders


def _edit_mask(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Folders, str], None]:
    def plant(folders: Folders, name: str) -> None:
        path = folders.mask(name)
        Image.fromarray(change(np.array(Image.open(path)))).save(path)

    return plant


def _cut(folders: Folders, name: str) -> None:
    path = folders.image(name)
    path.write_bytes(path.read_bytes()[:2000])


def _noise(folders: Folders, name: str) -> None:
    folders.image(name).write_bytes(bytes(range(256)) * 8)


def _rgb(folders: Folders, name: str) -> None:
    colors = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], np.uint8)  # Pascal VOC's
    path = folders.mask(name)
    Image.fromarray(colors[np.array(Image.open(path))]).save(path)


def _rgba(folders: Folders, name: str) -> None:
    path = folders.mask(name)
    picture = Image.open(path).convert("P")
    picture.putpalette([10, 10, 10, 200, 30, 30, 30, 200, 30, 30, 30, 200])
    picture.convert("RGBA").save(path)


def _grey_rgb(folders: Folders, name: str) -> None:
    path = folders.mask(name)
    Image.open(path).convert("RGB").save(path)


def _smooth(folders: Folders, name: str) -> None:
    """Kept at half size, then enlarged with bilinear interpolation: every border passes through ids in between."""
    path = folders.mask(name)
    small = Image.open(path).resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.NEAREST)
    small.resize(SIZE[::-1], Image.Resampling.BILINEAR).save(path)


def _jpeg(folders: Folders, name: str) -> None:
    path = folders.mask(name)
    Image.fromarray(np.array(Image.open(path)) * 60).save(path.with_suffix(".jpg"), quality=75)
    path.unlink()


def _quarter_turn(folders: Folders, name: str) -> None:
    path = folders.mask(name)
    Image.fromarray(np.rot90(np.array(Image.open(path)))).save(path)


def _tag(folders: Folders, name: str) -> None:
    path = folders.image(name)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path.with_suffix(".jpg"), exif=exif, quality=95)
    path.unlink()


def _nan(folders: Folders, name: str) -> None:
    path = folders.image(name)
    grey = np.array(Image.open(path).convert("F"))
    grey[3:5, 7] = np.nan
    Image.fromarray(grey).save(path.with_suffix(".tif"))
    path.unlink()


def _grey_image(folders: Folders, name: str) -> None:
    path = folders.image(name)
    Image.open(path).convert("L").save(path)


def _flat_image(folders: Folders, name: str) -> None:
    path = folders.image(name)
    Image.new("RGB", SIZE[::-1], (40, 40, 40)).save(path)


FAULTS: dict[str, Callable[[Folders, str], None]] = {
    "truncated": _cut,
    "unreadable": _noise,
    "missing": lambda folders, name: None,  # the file goes after the data set has listed it
    "size": _edit_mask(lambda mask: mask[:-5, :-4]),
    "orientation": _quarter_turn,
    "orientation_tag": _tag,
    "channels": _grey_image,
    "nan": _nan,
    "constant_image": _flat_image,
    "zero_255": _edit_mask(lambda mask: (mask > 0).astype(np.uint8) * 255),
    "colors": _rgb,
    "rgba": _rgba,
    "grey_as_rgb": _grey_rgb,
    "interpolated": _smooth,
    "one_too_high": _edit_mask(lambda mask: mask + 1),
    "void": _edit_mask(lambda mask: np.where(mask_of(99) == 1, 4, mask).astype(np.uint8)),
    "unknown_values": _edit_mask(lambda mask: np.array([0, 1, 34, 35], np.uint8)[mask]),
    "picture": _edit_mask(lambda mask: np.random.default_rng(0).integers(0, 255, mask.shape, dtype=np.uint8)),
    "constant_mask": _edit_mask(lambda mask: np.full_like(mask, 2)),
    "empty_mask": _edit_mask(lambda mask: np.full_like(mask, 255)),
}


def _pairs(folders: Folders) -> None:
    """Files without a partner, and two of one name."""
    Image.fromarray(image_of(500, mask_of(500))).save(folders.image("alone"))
    folders.note("image_without_mask", "alone.png")
    Image.fromarray(mask_of(501)).save(folders.mask("lonely"))
    folders.note("mask_without_image", "lonely.png")
    Image.fromarray(image_of(502, mask_of(502))).save(folders.image("plant_00", ending=".jpg"))
    folders.note("duplicate_name", "plant_00.jpg = plant_00.png")
    _jpeg(folders, "plant_24")
    folders.note("interpolated", "plant_24")


def _leaks(folders: Folders) -> None:
    """The same picture twice in train; one of train in val as it is, and one at half size in a JPEG."""
    folders.image("plant_26").write_bytes(folders.image("plant_25").read_bytes())
    folders.mask("plant_26").write_bytes(folders.mask("plant_25").read_bytes())
    folders.note("duplicate_image", "plant_25 = plant_26")
    folders.image("plant_00", "val").write_bytes(folders.image("plant_27").read_bytes())
    folders.note("leak_equal", "train/plant_27 = val/plant_00")
    small = Image.open(folders.image("plant_28")).resize((SIZE[1] // 2, SIZE[0] // 2), Image.Resampling.BILINEAR)
    folders.image("plant_01", "val").unlink()
    small.save(folders.image("plant_01", "val", ".jpg"), quality=70)
    mask = Image.open(folders.mask("plant_01", "val"))
    mask.resize(small.size, Image.Resampling.NEAREST).save(folders.mask("plant_01", "val"))
    folders.note("leak_near", "train/plant_28 ~ val/plant_01")
    for path in (folders.root / "val" / "masks").iterdir():
        values = np.array(Image.open(path))
        Image.fromarray(np.where(values == 3, 0, values).astype(np.uint8)).save(path)
    folders.note("absent_class", "fruit")
