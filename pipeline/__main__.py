"""`python -m pipeline`: the command line."""

import sys

from pipeline.cli import main
from pipeline.threads import settle_process

if __name__ == "__main__":
    settle_process()
    code = main()
    # Python notes an interrupt that struck inside any exec of a string (a dataclass made by a late import is one) and
    # would kill itself by the signal at its end, although `main` has caught it: another exec makes it forget.
    exec("")
    sys.exit(code)
