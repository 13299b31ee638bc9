"""Phone numbers are compared by their digits, however a guest has written them."""

from service.database.migrate import revert_script, run_script

revision = "0023"
down_revision = "0022"

# As phone_digits() in sql/, which comes after the tables.
UPGRADE = """
ALTER TABLE guests ADD COLUMN phone_digits text GENERATED ALWAYS AS (
    NULLIF(regexp_replace(regexp_replace(phone, '[^0-9]', '', 'g'), '^00', ''), '')) STORED;
COMMENT ON COLUMN guests.phone_digits IS
    'The digits of phone without the 00 of other countries; made of it, and compared instead.';
DROP INDEX guests_by_phone;
CREATE INDEX guests_by_phone ON guests (store_id, phone_digits) WHERE phone_digits IS NOT NULL;
"""

DOWNGRADE = """
DROP INDEX guests_by_phone;
CREATE INDEX guests_by_phone ON guests (store_id, phone) WHERE phone IS NOT NULL;
ALTER TABLE guests DROP COLUMN phone_digits;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
