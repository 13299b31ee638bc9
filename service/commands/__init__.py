"""Commands: python -m service NAME, one module each.

A module has `add`, which tells the command line of it, and `run`, which does it and returns the
exit code: 0 done, 1 something is wrong with what was looked at, 2 refused.
"""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its own parser."""
