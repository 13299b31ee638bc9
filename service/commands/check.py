"""check: prove that no invariant is broken, and that every role may do what it has to."""

import argparse

from service.commands import Commands
from service.database.connections import connected
from service.database.roles import shortcomings
from service.database.urls import owner_url
from service.settings import Settings

VIOLATIONS = "SELECT * FROM holdfast.invariant_violations ORDER BY 1, 2, 3"


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    proof = "prove that no invariant is broken and no right is missing; exit code 1 if one is"
    commands.add_parser("check", help=proof, description=proof).set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print every broken invariant, every missing role and right."""
    async with (
        owner_url(settings) as dsn,
        connected(dsn, "holdfast_reader", seconds=None) as connection,
    ):
        for sentence in (missing := await shortcomings(connection)):
            print(sentence)
        rows = await connection.fetch(VIOLATIONS)
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    if rows:
        print(f"{len(rows)} broken invariants")
    elif not missing:
        print("Healthy: no invariant is broken.")
    return 1 if rows or missing else 0
