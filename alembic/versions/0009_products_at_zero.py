"""What costs nothing gets no price: supply and import made such products, nobody priced them.

Apart from 0008, so that its lock on the table is not held while many rows change; and in one
transaction with the revision's number, so that a 0 set on purpose later is never taken away.
"""

from service.database.migrate import revert_script, run_script

revision = "0009"
down_revision = "0008"

UPGRADE = [
    "SELECT set_config('holdfast.actor', 'revision 0009', true)",  # for audit_log
    "UPDATE products SET price = NULL WHERE price = 0",
    "COMMENT ON COLUMN products.price IS"
    " 'Of one unit, in minor units (kopecks, cents); null: not for sale, 0: it costs nothing.'",
]

DOWNGRADE = "COMMENT ON COLUMN products.price IS 'Of one unit, in minor units (kopecks, cents).'"


def upgrade() -> None:
    for statement in UPGRADE:
        run_script(statement)


def downgrade() -> None:
    revert_script(DOWNGRADE)
