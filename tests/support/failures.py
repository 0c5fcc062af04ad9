"""How a command refuses bad input."""

from click.testing import Result


def check_one_line(result: Result, *words: str) -> None:
    """Assert exit code 2 and one line of error that holds `words`."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
