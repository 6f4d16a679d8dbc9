"""Errors named by their consequence; the command line turns each into its exit code."""

from __future__ import annotations


class UserError(Exception):
    """The configuration or an input that the user named is wrong: exit code 2 with this one line, no traceback."""

    exit_code = 2


class BudgetStop(Exception):
    """A budget is used up: exit code 3. What is paid is kept, and the run can be continued."""

    exit_code = 3


class InvariantError(Exception):
    """Rows went missing without a reason, or a guarantee does not hold: exit code 1. Nothing after this step has run."""

    exit_code = 1
