"""One plain training loop; each task (detection, patches, segmentation, GAN) is a small file."""

from detectors.training.loop import train

__all__ = ["train"]
