"""worker: by itself, or as the child of `serve`, whose end is ours."""

import argparse

from service import server, worker
from service.commands import Commands
from service.database.urls import service_url
from service.settings import Settings


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    works = "deliver messages, fire schedules and write lapsed holds down, until SIGTERM"
    parser = commands.add_parser("worker", help=works, description=works)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run, is_service=True)


async def run(settings: Settings, arguments: argparse.Namespace) -> None:
    """Work until told to stop, or until the parent is gone."""
    stop = server.stop_on_signals()
    async with service_url(settings) as dsn:
        orphaned = await server.stop_with_parent(stop) if arguments.child else None
        await worker.run_worker(settings, dsn, stop)
    if orphaned:
        orphaned.cancel()
