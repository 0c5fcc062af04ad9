"""Lay a reference radiograph over another of the same part: turned and shifted, or refused with the residual.

The start comes from phase correlation (Kuglin and Hines 1975) at several turns, the fit from the maximum of the
enhanced correlation coefficient (Evangelidis and Psarakis 2008), which gain and offset of gray values do not change.
Whether it fits is measured apart from both: small pieces of the reference are looked for near the place where they
should lie.
"""

from dataclasses import dataclass

import cv2
import numpy as np

COARSE = 160  # pixels of the longer side, at which turns are tried
FINE = 512  # the same, at which the fit is made
TURN_STEP = 3.0  # degrees
CANDIDATES = 5
LEAST_OVERLAP = 0.5  # of the frame, of a start
BLOCKS = 7  # pieces along the longer side
REACH = 12  # pixels, at the fine scale, in which a piece is looked for
LEAST_LIKENESS = 0.5  # correlation from which a piece counts as found
LEAST_BLOCKS = 6  # pieces with structure that it takes to judge
QUANTILE = 0.75  # of the pieces' displacements: some pieces hold a defect or leave the frame
LEAST_STRUCTURE = 2.0  # standard deviation of a calmed piece over that of its noise


@dataclass(frozen=True)
class Registration:
    """Where a radiograph lies on the reference.

    Attributes:
        matrix: float64 [2, 3], from pixels x, y of the radiograph to those of the reference.
        residual: pixels by which pieces still lie off, the 75 % quantile; `limit` of the search where they are not
            found.
        pieces: how many pieces with structure that rests on.
        refused: why it does not fit, with the residual; empty where it does.

    """

    matrix: np.ndarray
    residual: float
    pieces: int
    refused: str = ""

    def carry(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask bool [H, W] on the reference as it lies on the radiograph, of the same size."""
        height, width = mask.shape
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(mask.astype(np.uint8), self.matrix, (width, height), flags=flags) > 0


def register(
    reference: np.ndarray, pixels: np.ndarray, largest_turn: float = 15.0, largest_residual: float = 3.0
) -> Registration:
    """Find how a radiograph is turned and shifted against a reference of the same part.

    Args:
        reference: float32 [H, W] in [0, 1].
        pixels: float32 [H, W] in [0, 1]; one of another size is refused.
        largest_turn: degrees, up to which turns are tried.
        largest_residual: pixels, over which the fit is refused.

    """
    if reference.shape != pixels.shape:
        sizes = " and ".join(f"{shape[1]} x {shape[0]}" for shape in (pixels.shape, reference.shape))
        return Registration(_turn(0, (0, 0)), np.inf, 0, f"zones not carried: sizes differ, {sizes} pixels")
    scale = min(1.0, FINE / max(reference.shape))
    fine_reference, fine = _small(reference, scale), _small(pixels, scale)
    matrix = _fit(fine_reference, fine, largest_turn)
    residual, pieces = _residual(fine_reference, fine, matrix)
    residual /= scale
    matrix[:, 2] /= scale
    shift = (1 / scale - 1) / 2  # pixels are counted by their centers
    matrix[:, 2] += shift * (np.eye(2) - matrix[:, :2]) @ np.ones(2)
    refused = ""
    if pieces < LEAST_BLOCKS:
        refused = f"zones not carried: only {pieces} pieces with structure, too few to tell where the part lies"
    elif residual > largest_residual:
        refused = f"zones not carried: the residual is {residual:.1f} px or more, at most {largest_residual:g} fits"
    return Registration(matrix, residual, pieces, refused)


def _small(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Return the gray values at a scale, calmed and of mean 0 and deviation 1, float32."""
    small = pixels if scale == 1 else cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    calm = cv2.GaussianBlur(np.asarray(small, np.float32), (0, 0), 1.0)
    return (calm - calm.mean()) / max(float(calm.std()), 1e-6)


def _turn(degrees: float, center: tuple[float, float]) -> np.ndarray:
    return cv2.getRotationMatrix2D(center, degrees, 1.0)


def _fit(reference: np.ndarray, image: np.ndarray, largest_turn: float) -> np.ndarray:
    """Return the matrix float64 [2, 3] from pixels of the image to those of the reference, both of the fine scale."""
    down = min(1.0, COARSE / max(image.shape))
    gray_reference, gray = (
        cv2.resize(x, None, fx=down, fy=down, interpolation=cv2.INTER_AREA) for x in (reference, image)
    )
    starts = _starts(gray_reference, gray, largest_turn)
    fits: list[tuple[float, np.ndarray]] = []
    everywhere = np.full(image.shape, 255, np.uint8)
    for _, start in starts[:CANDIDATES]:
        matrix: np.ndarray = start.astype(np.float32)
        matrix[:, 2] /= down
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        try:
            found, fitted = cv2.findTransformECC(
                image, reference, matrix, cv2.MOTION_EUCLIDEAN, criteria, everywhere, 3
            )
        except cv2.error:  # it does not converge: another part, or nothing in the picture
            continue
        fits.append((float(found), np.asarray(fitted, np.float64)))
    if fits:
        return max(fits, key=lambda fit: fit[0])[1]
    start = starts[0][1].astype(np.float64)
    start[:, 2] /= down
    return start


def _starts(reference: np.ndarray, image: np.ndarray, largest_turn: float) -> list[tuple[float, np.ndarray]]:
    """Return starts at the coarse scale with how well the pictures agree there, the best first.

    Phase correlation of the gray values finds parts with little detail, that of their details parts in uneven light.
    """
    height, width = image.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    pairs = ((reference, image), (_details(reference), _details(image)))
    steps = round(largest_turn / TURN_STEP)
    starts: list[tuple[float, np.ndarray]] = []
    for step in range(-steps, steps + 1):
        turn = _turn(step * TURN_STEP, ((width - 1) / 2, (height - 1) / 2))
        for one, two in pairs:
            turned = cv2.warpAffine(one, turn, (width, height), flags=cv2.WARP_INVERSE_MAP)
            (x, y), _ = cv2.phaseCorrelate(turned, two, window)
            for shift in ((x, y), (0.0, 0.0)):
                start = turn.copy()
                start[:, 2] -= turn[:, :2] @ np.array(shift)
                laid = cv2.warpAffine(one, start, (width, height), flags=cv2.WARP_INVERSE_MAP)
                starts.append((_correlation(laid, two), start))
    return sorted(starts, key=lambda start: -start[0])


def _details(image: np.ndarray) -> np.ndarray:
    """Return what is left of gray values without their slow changes, float32."""
    return np.asarray(image - cv2.GaussianBlur(image, (0, 0), 6.0), np.float32)


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Return the correlation where a laid picture lies on the other, less for a smaller overlap: that is chance."""
    inside = one != 0
    overlap = float(inside.mean())
    if overlap < LEAST_OVERLAP:
        return -1.0
    return float(np.corrcoef(one[inside], two[inside])[0, 1]) * overlap


def _residual(reference: np.ndarray, image: np.ndarray, matrix: np.ndarray) -> tuple[float, int]:
    """Return by how many pixels pieces of the laid reference lie off in the image, and how many pieces there are."""
    height, width = image.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(reference, matrix, (width, height), flags=flags, borderValue=np.nan)
    side = max(24, max(height, width) // BLOCKS)
    noise = float(np.median(np.abs(image - cv2.medianBlur(image, 5)))) * 1.4826
    distances = []
    for top in range(REACH, height - side - REACH + 1, side):
        for left in range(REACH, width - side - REACH + 1, side):
            piece = laid[top : top + side, left : left + side]
            if np.isnan(piece).any():
                continue
            detail = float((piece - cv2.GaussianBlur(piece, (0, 0), side / 4)).std())
            if detail < max(LEAST_STRUCTURE * noise, 0.05):
                continue
            around = image[top - REACH : top + side + REACH, left - REACH : left + side + REACH]
            likeness = cv2.matchTemplate(around, piece, cv2.TM_CCOEFF_NORMED)
            y, x = np.unravel_index(int(likeness.argmax()), likeness.shape)
            found = likeness[y, x] >= LEAST_LIKENESS
            distances.append(float(np.hypot(y - REACH, x - REACH)) if found else float(REACH))
    if not distances:
        return float(REACH), 0
    return float(np.quantile(distances, QUANTILE)), len(distances)
