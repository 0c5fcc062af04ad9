"""From the `model` section of a configuration to a model: one line a detector."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from data.errors import InputError
from detectors.backbones.weights import load_compatible
from detectors.boxes.center_net import CenterNetConfig, build_center_net
from detectors.boxes.faster_rcnn import FasterRCNNConfig, build_faster_rcnn
from detectors.boxes.rfcn import RFCNConfig, build_rfcn
from detectors.boxes.ssd import build_ssd
from detectors.boxes.ssd_config import SSDConfig
from detectors.gan.model import DCGANConfig, build_dcgan
from detectors.patches.xnet import XnetConfig, XnetV2Config, build_xnet
from detectors.schema import ModelSection
from detectors.segmentation.weld_fcn import WeldFCNConfig, build_weld_fcn
from detectors.volumes.acc_unet import ACCUNetConfig, build_acc_unet
from detectors.volumes.deep_defect import DeepDefectConfig, build_deep_defect
from detectors.volumes.dilated import DilatedConfig, build_dilated
from detectors.volumes.otsu import OtsuConfig, build_otsu
from detectors.volumes.slice_unet import SliceUNetConfig, build_slice_unet
from detectors.volumes.unet3d import UNet3DConfig, build_unet3d
from detectors.volumes.vae.gm_vae import MixtureVAEConfig, build_gm_vae
from detectors.volumes.vae.rv_vae import RandomVariableVAEConfig, build_rv_vae
from detectors.volumes.vae.vae import ContextVAEConfig, VAEConfig, build_ce_vae, build_vae
from detectors.volumes.vae.vq_vae import QuantizedVAEConfig, build_vq_vae

Builder = Callable[[Any, int], nn.Module]
"""From a section of the model's own class and the number of foreground classes to the model, its published weights
loaded. A model whose `class_layers` are prefixes of parameter names starts those anew from a run of other classes."""

MODELS: dict[str, tuple[type[ModelSection], Builder]] = {
    "acc_unet": (ACCUNetConfig, build_acc_unet),
    "ce_vae": (ContextVAEConfig, build_ce_vae),
    "center_net": (CenterNetConfig, build_center_net),
    "dcgan": (DCGANConfig, build_dcgan),
    "deep_defect": (DeepDefectConfig, build_deep_defect),
    "dilated": (DilatedConfig, build_dilated),
    "faster_rcnn": (FasterRCNNConfig, build_faster_rcnn),
    "gm_vae": (MixtureVAEConfig, build_gm_vae),
    "otsu": (OtsuConfig, build_otsu),
    "rfcn": (RFCNConfig, build_rfcn),
    "rv_vae": (RandomVariableVAEConfig, build_rv_vae),
    "slice_unet": (SliceUNetConfig, build_slice_unet),
    "ssd": (SSDConfig, build_ssd),
    "unet3d": (UNet3DConfig, build_unet3d),
    "vae": (VAEConfig, build_vae),
    "vq_vae": (QuantizedVAEConfig, build_vq_vae),
    "weld_fcn": (WeldFCNConfig, build_weld_fcn),
    "xnet": (XnetConfig, build_xnet),
    "xnet_v2": (XnetV2Config, build_xnet),
}

MAX_PARAMETERS = 500_000_000
"""Of a model, 2 GB in float32; the largest published one here, Faster R-CNN VGG-16, has 137 million."""


def build_model(config: ModelSection, num_classes: int) -> nn.Module:
    """Return the model that a `model` section describes, with its starting weights.

    Args:
        config: one of the classes in `MODELS`.
        num_classes: foreground classes; background is the model's own affair.

    Raises InputError for a model of more than `MAX_PARAMETERS`, before memory is taken for it, for classes that it
    cannot tell apart, and for starting weights that cannot be had or do not fit.

    """
    _, build = MODELS[config.name]
    _check_size(config, num_classes)
    model = build(config, num_classes)
    if config.checkpoint is not None:
        load_compatible(model, config.checkpoint, getattr(model, "class_layers", ()))
    return model


def _check_size(config: ModelSection, num_classes: int) -> None:
    """Raise InputError for more than `MAX_PARAMETERS`: a configuration can come from a file of anyone's."""
    _, build = MODELS[config.name]
    try:
        with torch.device("meta"):  # shapes without memory, and without a draw from the random numbers
            count = sum(p.numel() for p in build(config.without_weights(), num_classes).parameters())
    except RuntimeError as error:  # a product of sizes beyond 64 bits
        raise InputError(f"model '{config.name}' cannot be built: {str(error).splitlines()[0]}") from error
    if count > MAX_PARAMETERS:
        raise InputError(
            f"model '{config.name}' would have {count:,} parameters, over the limit of {MAX_PARAMETERS:,}; give it "
            "fewer channels"
        )
