"""`python -m rlbook` is the command `rlbook`."""

import sys

from rlbook.cli import main

if __name__ == "__main__":
    sys.exit(main())
