"""The version, in the one place where setup.py, the command line and the run records read it."""

from __future__ import annotations

__version__ = "0.1.0"
