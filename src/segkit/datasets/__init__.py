"""Data sets of (image, mask) pairs, and ways to split them."""

from __future__ import annotations

from segkit.datasets._base import Item, Pairs, SegmentationDataset, create_dataset, list_datasets
from segkit.datasets.camvid import CamVid
from segkit.datasets.decathlon import Decathlon
from segkit.datasets.folder import FolderDataset
from segkit.datasets.inspection import DatasetReport, InspectedSplit, Problem, inspect_dataset
from segkit.datasets.reading import read_image
from segkit.datasets.splits import Subset, random_split
from segkit.datasets.statistics import ClassStatistics, class_statistics
from segkit.datasets.street_scenes import SceneObject, StreetScenes
from segkit.datasets.volume_reading import VolumeReading
from segkit.datasets.volume_slices import VolumeDataset, whole_volumes
from segkit.datasets.volumes import Volume, read_label_volume, read_volume

__all__ = [
    "CamVid",
    "ClassStatistics",
    "DatasetReport",
    "Decathlon",
    "FolderDataset",
    "InspectedSplit",
    "Item",
    "Pairs",
    "Problem",
    "SceneObject",
    "SegmentationDataset",
    "StreetScenes",
    "Subset",
    "Volume",
    "VolumeDataset",
    "VolumeReading",
    "class_statistics",
    "create_dataset",
    "inspect_dataset",
    "list_datasets",
    "random_split",
    "read_image",
    "read_label_volume",
    "read_volume",
    "whole_volumes",
]
