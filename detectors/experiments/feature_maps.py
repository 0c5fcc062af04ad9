"""Which areas of a radiograph the layers of a model respond to, as pictures (the weld paper's Fig. 5)."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from data.errors import InputError
from data.pictures import captioned, grid, write_picture
from data.radiograph import read_radiograph
from detectors.runs.prediction import Predictor

CELL_WIDTH, CELL_HEIGHT = 360, 360
"""Largest size in pixels of one map in a picture, its caption left out."""


def layer_names(model: nn.Module) -> list[str]:
    """Return the names of all modules of a model, outer ones before their parts."""
    return [name for name, _ in model.named_modules() if name]


@torch.inference_mode()
def layer_responses(model: nn.Module, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return what each layer puts out for a radiograph: name to float32 [C, h, w], on the CPU.

    A layer that runs several times (on windows, or on levels of a pyramid) answers with its first run.

    Args:
        model: any detector; put into evaluation mode.
        image: float32 [1, H, W] in [0, 1], where the model lies.
        layers: names of modules, as `layer_names` gives them.

    Raises InputError for an unknown layer, naming the nearest, and for one whose output is no map.

    """
    modules = dict(model.named_modules())
    responses: dict[str, Tensor] = {}
    for name in layers:
        if name not in modules or not name:
            nearest = difflib.get_close_matches(name, layer_names(model), n=1, cutoff=0)
            raise InputError(f"the model has no layer '{name}'; the nearest is '{nearest[0]}' (--list names all)")

    def keep(name: str, output: object) -> None:
        if isinstance(output, dict):  # the levels of a pyramid: the finest
            output = next(iter(output.values()), None)
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise InputError(f"layer '{name}' does not put out maps [N, C, h, w]; choose another (--list names all)")
        responses.setdefault(name, output[0].float().cpu())

    hooks = [
        modules[name].register_forward_hook(lambda module, inputs, output, name=name: keep(name, output))
        for name in dict.fromkeys(layers)
    ]
    try:
        model.eval()([image])
    finally:
        for hook in hooks:
            hook.remove()
    for name in layers:
        if name not in responses:
            raise InputError(f"layer '{name}' took no part in this radiograph; choose another (--list names all)")
    return {name: responses[name] for name in layers}


def most_active(response: Tensor, channels: int) -> list[int]:
    """Return the channels [C, h, w] that vary most over the radiograph, the strongest first.

    The standard deviation and not the mean: a channel that is high everywhere shows nothing.
    """
    spread = response.flatten(1).std(dim=1, correction=0)
    return spread.argsort(descending=True, stable=True)[:channels].tolist()


def draw_feature_maps(pixels: np.ndarray, response: Tensor, channels: int = 8, columns: int = 3) -> np.ndarray:
    """Return the radiograph and its most active maps side by side, uint8 RGB [H, W, 3].

    Args:
        pixels: the radiograph, float32 [H, W] in [0, 1].
        response: the maps of a layer, [C, h, w]; each is stretched to its own range and to the radiograph's size.
        channels: how many maps are shown at most.
        columns: pictures in a row.

    """
    height, width = pixels.shape
    scale = min(CELL_WIDTH / width, CELL_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    gray = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cells = [captioned(np.repeat(cv2.resize(gray, size, interpolation=shrink)[..., None], 3, axis=2), "radiograph")]
    for channel in most_active(response, channels):
        values = cv2.resize(_stretched(response[channel].numpy()), size, interpolation=cv2.INTER_LINEAR)
        colors = cv2.applyColorMap(np.rint(values * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
        cells.append(captioned(cv2.cvtColor(colors, cv2.COLOR_BGR2RGB), f"channel {channel}"))
    return grid(cells, columns)


def write_feature_maps(
    predictor: Predictor, path: Path, layers: Sequence[str], out: Path, channels: int = 8
) -> list[Path]:
    """Write one PNG a layer, `<radiograph>_<layer>.png`, into `out` and return their paths.

    Raises InputError as `layer_responses`, before anything is written, and for a file that is no radiograph.
    """
    radiograph = read_radiograph(path, window=predictor.window)
    pixels = radiograph.display()
    image = torch.from_numpy(radiograph.pixels)[None].to(predictor.device)
    written = []
    for layer, response in layer_responses(predictor.model, image, layers).items():
        picture = draw_feature_maps(pixels, response, channels)
        written.append(out / f"{path.stem}_{layer}.png")
        write_picture(written[-1], picture)
    return written


def _stretched(values: np.ndarray) -> np.ndarray:
    """Return values from 0 to 1, all 0 where there is one value alone."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
