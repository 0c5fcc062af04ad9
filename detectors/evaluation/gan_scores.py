"""How good generated patches are: whether a classifier tells them from real ones, whether they are memorized."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.montage import write_patch_sheet
from detectors.evaluation.intervals import clopper_pearson
from detectors.evaluation.metrics import EMPTY_METRICS, Metrics

STEPS, BATCH, RATE = 300, 64, 2e-3  # of the two-sample classifier's training
DETAIL = 10.0  # by how much a patch's deviations from its own mean are enlarged beside it
CHUNK, CHUNK_PIXELS = 512, 2**21  # patches compared at once, at most, and their pixels
LOW = 0.05  # quantile of the held-out patches' distances below which a sample counts as memorized
PAIRS = 30
COPY = 1e-6  # a smaller distance is rounding


@dataclass(frozen=True)
class TwoSampleTest:
    """A classifier two-sample test (Lopez-Paz and Oquab 2017).

    Attributes:
        accuracy: share of test patches that are called rightly real or generated; 0.5 if they cannot be told apart.
        low: lower end of the exact 95 % band of the accuracy.
        high: its upper end.
        loss: cross entropy of the answers in bits: 0 if all are right and sure, 1 if they are a coin's.
        count: number of test patches, half of them real.

    """

    accuracy: float
    low: float
    high: float
    loss: float
    count: int


@dataclass(frozen=True)
class Memorization:
    """How near samples come to training patches, beside how near held-out real patches come.

    A distance is the root mean square of the difference of gray values, each patch without its mean, to the
    nearest training patch in any of its four flips.

    Attributes:
        share: share of samples nearer than the 5th percentile of the held-out patches; 0.05 if they are as new.
        ratio: median distance of the samples over that of the held-out patches; well below 1 for copies. None where
            most held-out patches are themselves copies of training patches, so that nothing can be told.
        distance: float64 [N] of the samples.
        neighbor: int64 [N] positions of their nearest training patches.
        flip: int64 [N] how those are mirrored; see `flipped`.

    """

    share: float
    ratio: float | None
    distance: np.ndarray
    neighbor: np.ndarray
    flip: np.ndarray


def two_sample_test(
    real: np.ndarray,
    generated: np.ndarray,
    real_half: np.ndarray | None = None,
    generated_half: np.ndarray | None = None,
    seed: int = 0,
) -> TwoSampleTest:
    """Train a small classifier on one half of real and generated patches, test it on the other.

    Of each half as many real as generated patches count, chosen at random.

    Args:
        real: float [N, S, S] in [0, 1], S at least 16 and N at least 2.
        generated: float [M, S, S], M at least 2.
        real_half: bool [N], the patches to train with; views of one place must not lie on both sides. Every second
            one if None.
        generated_half: bool [M], likewise.
        seed: of the choice, the classifier's start and its batches; nothing else is random.

    """
    rng = np.random.default_rng(seed)
    halves = [
        np.arange(len(patches)) % 2 == 0 if half is None else half
        for patches, half in ((real, real_half), (generated, generated_half))
    ]
    pairs = []
    for side in (True, False):
        count = min(int((half == side).sum()) for half in halves)
        chosen = [rng.permutation(np.flatnonzero(half == side))[:count] for half in halves]
        pairs.append(_labeled(real[chosen[0]], generated[chosen[1]]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _trained_classifier(*pairs[0])
    patches, labels = pairs[1]
    with torch.inference_mode():
        logits = model(patches)
    right = (logits > 0) == (labels > 0)
    low, high = clopper_pearson(int(right.sum()), len(right)) or (0.0, 1.0)
    loss = float(F.binary_cross_entropy_with_logits(logits, labels)) / math.log(2)
    return TwoSampleTest(float(right.float().mean()), low, high, loss, len(right))


def find_nearest(patches: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distance float64 [N], position int64 [N] and flip int64 [N] of each patch's nearest reference.

    See `Memorization` for the distance and `flipped` for the flips of the reference. `patches` is float [N, S, S],
    `reference` [M, S, S], float32 best: beside it the search takes as much memory again, and about 100 MB.
    """
    known = _centered(reference, np.float32)
    squares = np.einsum("ij,ij->i", known, known)
    chunk = max(min(CHUNK, CHUNK_PIXELS // known.shape[1]), 1)
    distance, position, flip = np.zeros(len(patches)), *np.zeros((2, len(patches)), np.int64)
    for start in range(0, len(patches), chunk):
        rows = slice(start, start + chunk)
        part = patches[rows]
        position[rows], flip[rows] = _nearest_of(part, known, squares)
        same_way = np.stack([flipped(reference[p], k) for p, k in zip(position[rows], flip[rows], strict=True)])
        distance[rows] = np.sqrt(((_centered(same_way) - _centered(part)) ** 2).mean(axis=1))
    return distance, position, flip


def _nearest_of(patches: np.ndarray, known: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return position and flip of the nearest of `known`, with their squared sums."""
    least = np.full(len(patches), np.inf)
    position, flip = np.zeros((2, len(patches)), np.int64)
    for k in range(4):
        gaps = _centered(flipped(patches, k), np.float32) @ known.T
        gaps *= -2
        gaps += squares
        nearest = gaps.argmin(axis=1)
        gap = gaps[np.arange(len(patches)), nearest]
        nearer = gap < least
        least[nearer], position[nearer], flip[nearer] = gap[nearer], nearest[nearer], k
    return position, flip


def flipped(patches: np.ndarray, flip: int) -> np.ndarray:
    """Return patches [..., S, S] mirrored left to right if `flip` is odd, top to bottom if it is 2 or 3."""
    patches = patches[..., ::-1] if flip % 2 else patches
    return patches[..., ::-1, :] if flip >= 2 else patches


def find_memorized(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> Memorization:
    """Compare the distances of samples and of held-out real patches, float [., S, S], to the training patches."""
    distance, neighbor, flip = find_nearest(samples, training)
    usual = find_nearest(held_out, training)[0]
    nearest = float(np.median(usual))
    ratio = float(np.median(distance)) / nearest if nearest > COPY else None
    return Memorization(float((distance < np.quantile(usual, LOW)).mean()), ratio, distance, neighbor, flip)


def write_nearest(path: Path, samples: np.ndarray, training: np.ndarray, found: Memorization) -> None:
    """Write a sheet of the samples that come nearest to a training patch, each beside it, and their distance."""
    pictures, captions = [], []
    for k in np.argsort(found.distance, kind="stable")[:PAIRS]:
        pictures += [samples[k], flipped(training[found.neighbor[k]], int(found.flip[k]))]
        captions += [f"d {found.distance[k]:.4f}", "training"]
    write_patch_sheet(path, np.stack(pictures), captions)


def gan_metrics(test: TwoSampleTest, memorized: Memorization, reference: float | None = None) -> Metrics:
    """Return the metrics as `metrics.json` holds them; those of detection are null.

    `two_sample_loss` is cut at 1, for a classifier that does worse than a coin proves no more. It still tells
    generators apart whose samples are all recognized, and the accuracy those whose loss is cut:
    `indistinguishability` is the sum of the loss and of 1 - |2 accuracy - 1|, from 0 (all recognized, for sure) to 2
    (a coin's answers).
    `reference` is the accuracy of the same test with training patches in place of samples: what a perfect generator
    would reach.
    """
    return EMPTY_METRICS | {
        "two_sample_accuracy": test.accuracy,
        "two_sample_low": test.low,
        "two_sample_high": test.high,
        "two_sample_count": test.count,
        "two_sample_reference": reference,
        "two_sample_loss": min(test.loss, 1.0),
        "indistinguishability": min(test.loss, 1.0) + 1 - abs(2 * test.accuracy - 1),
        "memorization_rate": memorized.share,
        "nearest_ratio": memorized.ratio,
        "nearest_median": float(np.median(memorized.distance)),
    }


def _labeled(real: np.ndarray, generated: np.ndarray) -> tuple[Tensor, Tensor]:
    patches = torch.from_numpy(np.concatenate([real, generated]).astype(np.float32))[:, None]
    return patches, torch.cat([torch.ones(len(real)), torch.zeros(len(generated))])


class _Classifier(nn.Module):
    """Three convolutions on a patch and on its deviations from its mean, enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 16, 3, stride=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 1),
        )  # fmt: skip

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits [N], positive for real, of patches [N, 1, S, S]."""
        detail = DETAIL * (patches - patches.mean(dim=(2, 3), keepdim=True))
        return self.layers(torch.cat([2 * patches - 1, detail], dim=1)).flatten()


def _trained_classifier(patches: Tensor, labels: Tensor) -> nn.Module:
    """Return a classifier trained on the CPU, every batch flipped at random."""
    model = _Classifier()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)
    for _ in range(STEPS):
        chosen = torch.randint(len(patches), (BATCH,))
        batch = patches[chosen]
        axes = [axis for axis in (2, 3) if torch.rand(()) < 0.5]
        loss = F.binary_cross_entropy_with_logits(model(batch.flip(axes)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def _centered(patches: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Return [N, S * S], each patch without its mean."""
    flat: np.ndarray = np.asarray(patches, dtype=dtype).reshape(len(patches), -1)
    return flat - flat.mean(axis=1, keepdims=True)
