"""Entry point of `python -m etl` and `spark-submit etl/__main__.py`."""

from __future__ import annotations

import sys

from etl.cli import main

if __name__ == "__main__":
    sys.exit(main())
