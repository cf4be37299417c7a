"""The package that the programs in scripts/ share: a subpackage for each stage or subject."""

__version__ = "0.3.0"

import sys

# Python 3.11 would end with a SyntaxError in one of our files.
if sys.version_info < (3, 12):  # noqa: UP036
    found = ".".join(map(str, sys.version_info[:3]))
    print(f"operation error: Python 3.12 or 3.13 is needed, this is {found}", file=sys.stderr)
    print(f"  where: {sys.executable}", file=sys.stderr)
    print("  next:  make install && source .venv/bin/activate, then type the same command", file=sys.stderr)
    sys.exit(2)
