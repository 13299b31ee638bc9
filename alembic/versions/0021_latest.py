"""Reservations by time: what was reserved last can be asked, at next to no cost to reserving."""

from service.database.migrate import revert_script, run_script

revision = "0021"
down_revision = "0020"

# Which ranges of pages hold rows of a store, and of which times: 40 kB for a million rows. A tree
# by time would have to be written to at every reservation; this is, once a range is full.
UPGRADE = """
CREATE INDEX reservations_by_time ON reservations
    USING brin (store_id text_bloom_ops (n_distinct_per_range = 64), created_at)
    WITH (pages_per_range = 32, autosummarize = on);
"""

DOWNGRADE = "DROP INDEX reservations_by_time"


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
