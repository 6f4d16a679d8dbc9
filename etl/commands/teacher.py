"""`boostqa teacher`: the stand-in teacher in the foreground, for trying an endpoint out without a key."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import socket
from typing import TYPE_CHECKING

from etl.errors import UserError
from udfs.engines.teacher_faults import add_fault_flags, faults_of

if TYPE_CHECKING:
    from etl.commands.arguments import Commands

HOW_TO_USE = """\
Its answers are placeholders, made by rules. Use it from another terminal (Ctrl-C here stops it):

  {key}boostqa run --conf conf/local.yaml --set tables.warehouse=warehouse-teacher --set llm.endpoint=urls --set 'llm.base_urls=[{url}]'

Its only model is `stand-in`. With a config that names others, add:

  --set 'llm.models={{teacher: stand-in, refiner: stand-in, annotator: stand-in, judge: stand-in}}'
"""


def add(commands: Commands) -> None:
    """Declares the command, with a flag for each fault that the server can be told to make."""
    parser = commands.add_parser(
        "teacher", help="serve the stand-in teacher: an endpoint with placeholder answers, no key"
    )
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1 (default: 8765); 0 takes a free one")
    add_fault_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    # The server needs aiohttp, which the base install lacks.
    from udfs.engines.teacher import serve

    port = free_port(args.port)
    key = f"OPENAI_API_KEY={shlex.quote(args.key)} " if args.key else ""
    print(HOW_TO_USE.format(url=f"http://127.0.0.1:{port}/v1", key=key), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(faults_of(args), port, "", 0))
    return 0


def free_port(wanted: int) -> int:
    """Returns the port, or a free one for 0. Raises UserError when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError) as err:
            raise UserError(f"--port {wanted} can not be used: {err}") from err
        return int(probe.getsockname()[1])
