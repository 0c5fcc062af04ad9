"""Windows that slide over a radiograph of any size."""


def tile_starts(length: int, size: int, stride: int) -> list[int]:
    """Return where windows of `size` pixels start along an axis of `length`, the last flush with the end.

    They lie `stride` apart and cover every pixel if `stride` is at most `size`. An axis no longer than `size` has
    one window, at 0.
    """
    last = length - size
    if last <= 0:
        return [0]
    return [*range(0, last, stride), last]
