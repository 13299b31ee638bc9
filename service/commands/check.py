"""check: prove that no invariant is broken."""

import argparse

from service.commands import Commands
from service.database.connections import connected
from service.database.urls import owner_url
from service.settings import Settings


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    proof = "prove that no invariant is broken; exit code 1 if one is"
    commands.add_parser("check", help=proof, description=proof).set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print every broken invariant."""
    async with (
        owner_url(settings) as dsn,
        connected(dsn, "holdfast_reader", seconds=None) as connection,
    ):
        rows = await connection.fetch("SELECT * FROM invariant_violations ORDER BY 1, 2, 3")
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    print(f"{len(rows)} broken invariants" if rows else "Healthy: no invariant is broken.")
    return 1 if rows else 0
