"""Entry point of `python -m hmdb` and of the installed command `hmdb`."""

import sys

from hmdb.cli import main
from hmdb.machine import tune_malloc


def run() -> int:
    """
    Returns:
        The exit status.
    """
    tune_malloc()
    return main()


if __name__ == "__main__":
    sys.exit(run())
