"""`python -m pipeline`: the command line."""

import sys

from pipeline.cli import main
from pipeline.threads import settle_process

if __name__ == "__main__":
    settle_process()
    sys.exit(main())
