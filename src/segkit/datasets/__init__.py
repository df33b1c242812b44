"""Data sets of (image, mask) pairs, and ways to split them."""

from __future__ import annotations

from segkit.datasets._base import Item, Pairs, SegmentationDataset, create_dataset, list_datasets
from segkit.datasets.camvid import CamVid
from segkit.datasets.folder import FolderDataset
from segkit.datasets.reading import read_image
from segkit.datasets.splits import Subset, random_split
from segkit.datasets.street_scenes import SceneObject, StreetScenes

__all__ = [
    "CamVid",
    "FolderDataset",
    "Item",
    "Pairs",
    "SceneObject",
    "SegmentationDataset",
    "StreetScenes",
    "Subset",
    "create_dataset",
    "list_datasets",
    "random_split",
    "read_image",
]
