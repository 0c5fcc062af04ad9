"""What goes into every detector and what comes out of it, checked in one place.

Images are a list of float32 tensors [1, H, W] in [0, 1]. A training target is a dict with `boxes` float32
[N, 4] (x1, y1, x2, y2 in pixels), `labels` int64 [N] in 1..K and, where the data has them, `image_id` and
`iscrowd`. An image without defects has boxes of shape [0, 4]. The output is a dict per image: `boxes` [M, 4]
in the pixels of the image as given, `scores` [M] in [0, 1], `labels` [M].
"""

from torch import Tensor

from data.errors import InputError

Target = dict[str, Tensor]
Detections = dict[str, Tensor]


def check_images(images: list[Tensor]) -> None:
    """Raise InputError for an image that is not float [1, H, W].

    torchvision's detectors accept one channel and broadcast it into three differently normalized copies, so
    the channel count is checked before they see it.
    """
    for index, image in enumerate(images):
        if image.dim() != 3 or image.shape[0] != 1 or not image.is_floating_point():
            raise InputError(
                f"image {index} of the batch has shape {tuple(image.shape)} and type {image.dtype}; "
                "detectors take float tensors [1, H, W]: read radiographs with data.radiograph.read_radiograph"
            )


def check_targets(images: list[Tensor], targets: list[Target] | None) -> list[Target]:
    """Return the targets without crowd regions, which are no objects to learn.

    Raises InputError for missing targets, wrong shapes and degenerate boxes, naming image and box.
    """
    if targets is None or len(targets) != len(images):
        raise InputError(
            f"training needs one target an image: {len(images)} images, "
            f"{0 if targets is None else len(targets)} targets"
        )
    return [_check_target(index, target) for index, target in enumerate(targets)]


def _check_target(index: int, target: Target) -> Target:
    image_id = int(target["image_id"]) if "image_id" in target else index
    boxes = target["boxes"]
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise InputError(f"image {image_id}: boxes have shape {tuple(boxes.shape)}; give [N, 4], [0, 4] when clean")
    valid = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
    if not valid.all():
        first = int((~valid).nonzero()[0])
        raise InputError(
            f"image {image_id}: box {first} is {boxes[first].tolist()}; boxes are x1, y1, x2, y2 with "
            "x1 < x2 and y1 < y2: remove it or put it right (radiograph check-data lists all of them)"
        )
    if "iscrowd" not in target or not target["iscrowd"].any():
        return target
    keep = target["iscrowd"] == 0
    return {k: v[keep] if v.dim() and len(v) == len(keep) else v for k, v in target.items()}
