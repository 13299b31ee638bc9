"""Commands: python -m service NAME, one module each.

A module has `add`, which tells the command line of it, and `run`, which does it and returns the
exit code: 0 done, 1 something is wrong with what was looked at, 2 refused.
"""

import argparse
from typing import TypeAlias

EXAMPLES = {
    "check": "check",
    "forget-guest": "forget-guest ann@example.org",
    "hooks": "hooks list",
    "hooks add": "hooks add https://example.org/events --events stock.low,purchase.made",
    "hooks list": "hooks list --store north",
    "hooks log": "hooks log 1 --limit 5",
    "hooks resend": "hooks resend 1 17 18",
    "hooks rotate": "hooks rotate 1",
    "hooks remove": "hooks remove 1",
    "import-stock": "import-stock --dry-run --encoding windows-1251 stock.csv",
    "key": "key list",
    "key create": 'key create "the till" --scope reserve --expires 2027-01-31',
    "key list": "key list --store north",
    "key revoke": "key revoke 1",
    "migrate": "migrate --sql-roles",
    "outbox": "outbox list",
    "outbox list": "outbox list",
    "outbox revive": "outbox revive 17",
    "psql": 'psql --as owner -- -c "SELECT * FROM stock_levels"',
    "report": "report --output stock.xlsx",
    "serve": "serve --demo",
    "user": "user list",
    "user create": "user create boss --role admin",
    "user list": "user list --store north",
    "user enable": "user enable ann",
    "user disable": "user disable ann",
    "user sign-out": "user sign-out ann",
    "user reset-link": "user reset-link ann",
    "user reset-totp": "user reset-totp ann",
    "worker": "worker",
}
"""What `--help` of each command ends with."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command adds its own parser."""


def add_examples(added: Commands, before: str = "") -> None:
    """End the help of each command, and of each of its verbs, with an example."""
    for name, parser in added.choices.items():
        parser.epilog = f"Example: python -m service {EXAMPLES[before + name]}"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                add_examples(action, f"{name} ")
