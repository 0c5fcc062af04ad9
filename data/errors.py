"""The one exception that stands for bad input."""

import re

_BREAKS = re.compile(r"[ \t]*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029][\s\x1c-\x1e]*")


class InputError(ValueError):
    """Something the user gave is wrong: a file, an id, a value, a configuration field.

    The message is one line that names the file, the image or annotation id, the value and the fix; what would break
    the line or the terminal in it (a file's name, a library's words) is joined or escaped. Commands print it without a
    traceback and exit with code 2.
    """

    def __init__(self, message: object = "") -> None:
        # A data loader's worker wraps its error in a traceback, whose last line is the message.
        super().__init__(one_line(str(message).rpartition("data.errors.InputError: ")[2]))


def one_line(text: str) -> str:
    """Return text as one line that any terminal shows as it is: no control codes, no half characters."""
    line = _BREAKS.sub(" ", text.strip()).replace("\t", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)
