"""A product may have no price: then it is not for sale."""

from service.database.migrate import revert_script, run_script

revision = "0008"
down_revision = "0007"

UPGRADE = [
    "ALTER TABLE products ALTER COLUMN price DROP DEFAULT",
    "ALTER TABLE products ALTER COLUMN price DROP NOT NULL",
]

# The release before has no word for a product that is not for sale.
DOWNGRADE = [
    "UPDATE products SET price = 0 WHERE price IS NULL",
    "ALTER TABLE products ALTER COLUMN price SET NOT NULL",
    "ALTER TABLE products ALTER COLUMN price SET DEFAULT 0",
]


def upgrade() -> None:
    for statement in UPGRADE:
        run_script(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        revert_script(statement)
