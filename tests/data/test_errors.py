"""The message of bad input: one line, whatever it quotes."""

import pickle

import pytest
from torch.utils.data import DataLoader, Dataset

from data.errors import InputError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a.png: no image", "a.png: no image"),
        ("a  b.png: two spaces are a name", "a  b.png: two spaces are a name"),
        ("3 errors:\n  lr: too high\n\n  seed: negative\n", "3 errors: lr: too high seed: negative"),
        ("x\ty\r\nz", "x y z"),
        ("a\x1b[31mb\x00.png", "a\\x1b[31mb\\x00.png"),
        ("a\u2028b\x85c", "a b c"),
        ("half \ud800 of a character", "half \\ud800 of a character"),
        ("é and 漢字 stay", "é and 漢字 stay"),
    ],
)
def test_the_message_is_one_printable_line(message: str, line: str) -> None:
    error = InputError(message)
    assert str(error) == line
    assert str(InputError(str(error))) == line
    assert str(pickle.loads(pickle.dumps(error))) == line  # as it comes from another process


class Torn(Dataset[int]):
    """A data set whose every sample is bad."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise InputError(f"{index}.png: torn")


def test_an_error_of_a_worker_is_the_one_that_was_raised_there() -> None:
    with pytest.raises(InputError) as found:
        list(DataLoader(Torn(), num_workers=1))
    assert str(found.value) == "0.png: torn"


def test_without_a_message() -> None:
    assert str(InputError()) == ""
