"""`python -m pipeline`: the command line."""

import signal
import sys
from types import FrameType

from pipeline.cli import main
from pipeline.threads import settle_process


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. A plain KeyboardInterrupt that strikes while Python makes a class from a string (a dataclass of a late
    import) is remembered even if it is caught, and Python then kills itself by the signal instead of exiting with 130.
    """


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt)
    settle_process()
    sys.exit(main())
