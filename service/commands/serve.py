"""serve: the whole service, until SIGTERM."""

import argparse
import os

from service import server
from service.commands import Commands
from service.commands.first_start import fill_store
from service.settings import Settings


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("serve", help="run the whole service until SIGTERM")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="load a small stock, users with the password 1 and tables into an empty store "
        "(development only)",
    )
    parser.set_defaults(run=run, is_service=True)


async def run(settings: Settings, arguments: argparse.Namespace) -> None:
    """Serve, or be one of the API processes when a parent started us as one."""
    if server.LISTEN_FD in os.environ:
        await server.serve_child(settings)
        return

    async def fill(owner_dsn: str) -> None:
        await fill_store(settings, owner_dsn, demo=arguments.demo)

    await server.serve(settings, fill)
