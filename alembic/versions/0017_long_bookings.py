"""Bookings that last longer than a day are found apart, so that a search reads one day of them."""

from service.database.migrate import revert_script, run_script

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_script(
        """
        CREATE INDEX bookings_long ON bookings (store_id, starts_at)
            WHERE status IN ('confirmed', 'seated')
            AND (ends_at IS NULL OR ends_at - starts_at > interval '24 hours')
        """
    )


def downgrade() -> None:
    revert_script("DROP INDEX bookings_long")
