"""The program: `python -m hmdb`, or `hmdb` where the package is installed."""

import sys

from hmdb.cli import main
from hmdb.machine import keep_freed_memory


def run() -> int:
    """
    Returns:
        The exit status.
    """
    keep_freed_memory()
    return main()


if __name__ == "__main__":
    sys.exit(run())
