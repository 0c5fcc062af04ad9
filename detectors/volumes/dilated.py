"""The dilated defect detector: nine convolutions at full resolution, their dilation rising and falling again.

The source names nine layers without subsampling, and shows the layout in a figure only.
Rising and then falling dilations follow Hamaguchi et al. (arXiv 1709.00179).
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from detectors.volumes.interface import ConvolutionConfig, VoxelNetwork
from detectors.volumes.layers import activated, start_weights
from detectors.volumes.unet3d import load_volume_weights

DILATIONS = (1, 1, 2, 4, 8, 4, 2, 1)


class DilatedConfig(ConvolutionConfig):
    """The `model` section of a dilated detector; it sees 47 voxels around each voxel."""

    name: Literal["dilated"] = Field("dilated", description="The dilated defect detector.")
    width: int = Field(16, ge=2, description="Channels of each layer.")


class DilatedNetwork(VoxelNetwork):
    """Eight dilated convolutions of 3 voxels and a head of one."""

    def __init__(self, config: DilatedConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        before = 1
        for dilation in DILATIONS:
            layers += activated(
                nn.Conv3d(before, config.width, 3, padding=dilation, dilation=dilation, padding_mode="replicate"),
                config.norm,
            )
            before = config.width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv3d(before, 1, 1)
        start_weights(self, [self.head])

    def exits(self, volumes: Tensor) -> list[Tensor]:
        """Return the one exit."""
        return [self.head(self.layers(volumes))[:, 0]]


def build_dilated(config: DilatedConfig, num_classes: int) -> DilatedNetwork:
    """Return a dilated detector. Raises InputError as `load_volume_weights`."""
    model = DilatedNetwork(config)
    load_volume_weights(model, config, num_classes)
    return model
