"""The base of the box detectors: losses in training, and each radiograph by itself in evaluation."""

from torch import Tensor, nn

from detectors.interface import Detections, Target, check_images


class BoxDetector(nn.Module):
    """A detector behind the toolkit's interface (`detectors.interface`); a model defines `_losses` and `_detect`."""

    detections_asked_for: int | None = None  # see `detectors.caps`

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Return losses in training, else the detections of each image. Raises InputError for images and targets."""
        check_images(images)
        return self._losses(images, targets) if self.training else [self._detect(image) for image in images]

    def _losses(self, images: list[Tensor], targets: list[Target] | None) -> dict[str, Tensor]:
        """Return the losses of a batch, to be summed. Raises InputError as `check_targets`."""
        raise NotImplementedError

    def _detect(self, image: Tensor) -> Detections:
        """Return the detections of one radiograph [1, H, W]."""
        raise NotImplementedError
