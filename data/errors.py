"""The one exception that stands for bad input."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, an id, a value, a configuration field.

    The message is one line that names the file, the image or annotation id, the value and the fix.
    Commands print it without a traceback and exit with code 2.
    """
