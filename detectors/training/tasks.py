"""The table of training tasks."""

from collections.abc import Callable

from detectors.config.experiment import ExperimentConfig
from detectors.training.detection import DetectionTask
from detectors.training.gan import GANTask
from detectors.training.patches import PatchTask
from detectors.training.segmentation import SegmentationTask
from detectors.training.task import Task
from detectors.training.volumes import VolumeTask

TASKS: dict[str, Callable[[ExperimentConfig], Task]] = {
    "detection": DetectionTask,
    "gan": GANTask,
    "patches": PatchTask,
    "segmentation": SegmentationTask,
    "volumes": VolumeTask,
}
"""How a model is trained, by the name in `ModelSection.task`: one row a task."""
