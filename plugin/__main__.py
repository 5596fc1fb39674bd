"""`python -m mdenoise`: the same as the `mdenoise` command."""

import sys

from mdenoise.cli import main

if __name__ == "__main__":
    sys.exit(main())
