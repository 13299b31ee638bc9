"""The outbox: targets that do not wait for each other, messages that nobody needs any more."""

from service.database.migrate import revert_script, run_script

revision = "0011"
down_revision = "0010"

UPGRADE = """
DROP INDEX outbox_waiting;
DROP INDEX outbox_delivered;
ALTER TABLE outbox DROP CONSTRAINT ends_once;
ALTER TABLE outbox
    ADD target text COLLATE "C" NOT NULL DEFAULT '',
    ADD reply_code int,
    ADD skipped_at timestamptz,
    ADD is_waiting boolean NOT NULL
        GENERATED ALWAYS AS (num_nonnulls(delivered_at, skipped_at, dead_at) = 0) STORED;
ALTER TABLE outbox
    ADD CONSTRAINT ends_once CHECK (num_nonnulls(delivered_at, skipped_at, dead_at) <= 1);
-- Only what is waiting, which is little, however much has been delivered.
CREATE INDEX outbox_waiting ON outbox (store_id, channel, target, due_at, message_id)
    WHERE is_waiting;
CREATE INDEX outbox_settled ON outbox (store_id, (COALESCE(delivered_at, skipped_at)))
    WHERE COALESCE(delivered_at, skipped_at) IS NOT NULL;
COMMENT ON COLUMN outbox.target IS
    'Whom it is for, where the channel has several that must not wait for each other: of a '
    'webhook the hook''s id; else empty.';
COMMENT ON COLUMN outbox.reply_code IS
    'What the other side answered to the last attempt, by HTTP or SMTP; null: nothing.';
COMMENT ON COLUMN outbox.skipped_at IS
    'When it was found that nobody needs it any more; such rows are kept for a while.';
COMMENT ON COLUMN outbox.is_waiting IS 'It is neither delivered nor skipped nor given up.';
COMMENT ON COLUMN outbox.last_error IS
    'Why the last attempt failed, or why it was skipped; null where neither was.';
"""

DOWNGRADE = """
DROP INDEX outbox_waiting;
DROP INDEX outbox_settled;
ALTER TABLE outbox DROP CONSTRAINT ends_once;
UPDATE outbox SET delivered_at = skipped_at WHERE skipped_at IS NOT NULL;
ALTER TABLE outbox DROP is_waiting, DROP target, DROP reply_code, DROP skipped_at;
ALTER TABLE outbox ADD CONSTRAINT ends_once CHECK (delivered_at IS NULL OR dead_at IS NULL);
CREATE INDEX outbox_waiting ON outbox (store_id, channel, due_at, message_id)
    WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX outbox_delivered ON outbox (store_id, delivered_at) WHERE delivered_at IS NOT NULL;
COMMENT ON COLUMN outbox.last_error IS 'Why the last attempt failed; null where none has.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
