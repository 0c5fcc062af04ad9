"""From the `model` section of a configuration to a model: one line a detector."""

from collections.abc import Callable

from torch import nn

from detectors.boxes.center_net import CenterNetConfig, build_center_net
from detectors.boxes.faster_rcnn import FasterRCNNConfig, build_faster_rcnn
from detectors.boxes.rfcn import RFCNConfig, build_rfcn
from detectors.boxes.ssd import SSDConfig, build_ssd
from detectors.gan.model import DCGANConfig, build_dcgan
from detectors.patches.xnet import XnetConfig, XnetV2Config, build_xnet
from detectors.schema import ModelSection
from detectors.segmentation.weld_fcn import WeldFCNConfig, build_weld_fcn

MODELS: dict[str, tuple[type[ModelSection], Callable[..., nn.Module]]] = {
    "center_net": (CenterNetConfig, build_center_net),
    "dcgan": (DCGANConfig, build_dcgan),
    "faster_rcnn": (FasterRCNNConfig, build_faster_rcnn),
    "rfcn": (RFCNConfig, build_rfcn),
    "ssd": (SSDConfig, build_ssd),
    "weld_fcn": (WeldFCNConfig, build_weld_fcn),
    "xnet": (XnetConfig, build_xnet),
    "xnet_v2": (XnetV2Config, build_xnet),
}


def build_model(config: ModelSection, num_classes: int) -> nn.Module:
    """Return the model that a `model` section describes, with its starting weights.

    Args:
        config: one of the classes in `MODELS`.
        num_classes: foreground classes; background is the model's own affair.

    """
    _, build = MODELS[config.name]
    return build(config, num_classes)
