"""The outbox: what is to be told to the world; and the schedules that tell by themselves."""

from service.database.migrate import revert_script, run_script

revision = "0006"
down_revision = "0005"

UPGRADE = """
CREATE TABLE outbox (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    message_id bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL CHECK (channel IN ('telegram', 'mail', 'webhook')),
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts int NOT NULL DEFAULT 0,
    max_attempts int NOT NULL DEFAULT 40,
    last_error text,
    delivered_at timestamptz,
    dead_at timestamptz,
    revived_at timestamptz,
    revived_by text,
    PRIMARY KEY (store_id, message_id),
    CONSTRAINT ends_once CHECK (delivered_at IS NULL OR dead_at IS NULL)
);
-- Only what is waiting, which is little, however much has been delivered.
CREATE INDEX outbox_waiting ON outbox (store_id, channel, due_at, message_id)
    WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX outbox_delivered ON outbox (store_id, delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX outbox_dead ON outbox (store_id, message_id) WHERE dead_at IS NOT NULL;
COMMENT ON TABLE outbox IS
    'What is to be sent, written by the function that made the change it tells of, in the same '
    'transaction; the worker delivers it, at least once.';
COMMENT ON COLUMN outbox.store_id IS 'The store it is about.';
COMMENT ON COLUMN outbox.message_id IS 'Made here.';
COMMENT ON COLUMN outbox.channel IS 'How it is sent; the module of service/delivery/.';
COMMENT ON COLUMN outbox.payload IS 'What is sent, and to whom: an object that the channel reads.';
COMMENT ON COLUMN outbox.created_at IS 'When it was written.';
COMMENT ON COLUMN outbox.due_at IS
    'From when on a worker may take it: at first, after a failure''s back-off, or once the lease '
    'of the worker that has taken it runs out.';
COMMENT ON COLUMN outbox.attempts IS
    'How often it was taken. The number is the lease''s token: who comes late has an older one.';
COMMENT ON COLUMN outbox.max_attempts IS 'After so many it is given up; forty take over a day.';
COMMENT ON COLUMN outbox.last_error IS 'Why the last attempt failed; null where none has.';
COMMENT ON COLUMN outbox.delivered_at IS 'When it was delivered; such rows are kept for a while.';
COMMENT ON COLUMN outbox.dead_at IS 'When it was given up: a dead letter, kept until revived.';
COMMENT ON COLUMN outbox.revived_at IS 'When somebody last had a dead letter tried again.';
COMMENT ON COLUMN outbox.revived_by IS 'The login that did.';

CREATE TABLE schedules (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    name text COLLATE "C" NOT NULL,
    cron text NOT NULL,
    time_zone text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('telegram', 'mail', 'webhook')),
    payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    due_at timestamptz NOT NULL,
    fired_at timestamptz,
    PRIMARY KEY (store_id, name)
);
COMMENT ON TABLE schedules IS
    'What a store sends by itself, and when: in the database, so that several workers send once.';
COMMENT ON COLUMN schedules.store_id IS 'The store.';
COMMENT ON COLUMN schedules.name IS 'What it is, such as daily_report.';
COMMENT ON COLUMN schedules.cron IS 'Minute, hour, day, month, day of the week.';
COMMENT ON COLUMN schedules.time_zone IS 'Of the cron, by its IANA name, such as Europe/Berlin.';
COMMENT ON COLUMN schedules.channel IS 'The channel of the message.';
COMMENT ON COLUMN schedules.payload IS 'The payload of the message.';
COMMENT ON COLUMN schedules.due_at IS 'When it fires next. Who claims it names this time.';
COMMENT ON COLUMN schedules.fired_at IS 'When it last wrote its message; null: never yet.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script("DROP TABLE schedules; DROP TABLE outbox;")
