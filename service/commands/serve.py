"""serve: the whole service, until SIGTERM."""

import argparse
import os

from service import server
from service.commands import Commands
from service.settings import Settings


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("serve", help="run the whole service until SIGTERM")
    parser.add_argument(
        "--demo", action="store_true", help="load a small stock into an empty store"
    )
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> None:
    """Serve, or be one of the API processes when a parent started us as one."""
    if server.LISTEN_FD in os.environ:
        await server.serve_child(settings)
    else:
        await server.serve(settings, demo=arguments.demo)
