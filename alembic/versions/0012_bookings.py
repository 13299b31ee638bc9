"""Restaurant tables, guests, bookings, and the house rules of a restaurant."""

from service.database.migrate import create_extension, drop_extension, revert_script, run_script

revision = "0012"
down_revision = "0011"

TABLES = """
CREATE TABLE dining_tables (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    table_id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL CHECK (kind IN ('regular', 'cabin', 'room')),
    seats int NOT NULL CHECK (seats BETWEEN 1 AND 10000),
    price bigint NOT NULL CHECK (price >= 0),
    is_open boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, table_id)
);
COMMENT ON TABLE dining_tables IS 'The tables of a restaurant, which is a store.';
COMMENT ON COLUMN dining_tables.store_id IS 'The restaurant.';
COMMENT ON COLUMN dining_tables.table_id IS 'Made here.';
COMMENT ON COLUMN dining_tables.kind IS 'regular, cabin (a booth) or room.';
COMMENT ON COLUMN dining_tables.seats IS 'How many guests can sit at it.';
COMMENT ON COLUMN dining_tables.price IS 'Of one booking, in minor units; 0 is free of charge.';
COMMENT ON COLUMN dining_tables.is_open IS 'Whether it can be booked.';
COMMENT ON COLUMN dining_tables.created_at IS 'When it was added.';

CREATE TABLE guests (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    guest_id bigint GENERATED ALWAYS AS IDENTITY,
    name text,
    email text CHECK (length(email) <= 254),
    phone text CHECK (length(phone) <= 32),
    language text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at timestamptz,
    PRIMARY KEY (store_id, guest_id),
    CONSTRAINT erased_is_empty CHECK (erased_at IS NULL
        OR (name IS NULL AND email IS NULL AND phone IS NULL AND language IS NULL))
);
CREATE INDEX guests_by_email ON guests (store_id, lower(email)) WHERE email IS NOT NULL;
CREATE INDEX guests_by_phone ON guests (store_id, phone) WHERE phone IS NOT NULL;
COMMENT ON TABLE guests IS
    'The one place where a guest''s name and contacts stand: one row per booking. Everything else '
    'refers to it, so that emptying the row forgets the guest.';
COMMENT ON COLUMN guests.store_id IS 'The restaurant.';
COMMENT ON COLUMN guests.guest_id IS 'Made here.';
COMMENT ON COLUMN guests.name IS 'As the guest gave it; null where none was given, or erased.';
COMMENT ON COLUMN guests.email IS 'Where mails go; null where none was given, or erased.';
COMMENT ON COLUMN guests.phone IS 'As the guest gave it; null where none was given, or erased.';
COMMENT ON COLUMN guests.language IS 'Of mails and pages, such as en; null: the house''s.';
COMMENT ON COLUMN guests.created_at IS 'When it was written.';
COMMENT ON COLUMN guests.erased_at IS 'When the guest was forgotten.';

CREATE TABLE bookings (
    store_id text COLLATE "C" NOT NULL,
    booking_id bigint GENERATED ALWAYS AS IDENTITY,
    table_id bigint NOT NULL,
    guest_id bigint NOT NULL,
    user_id bigint,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'confirmed', 'seated', 'finished', 'no_show', 'declined', 'cancelled')),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz,
    during tstzrange GENERATED ALWAYS AS (tstzrange(starts_at, ends_at)) STORED,
    guests int NOT NULL CHECK (guests BETWEEN 1 AND 10000),
    price_at_booking bigint NOT NULL CHECK (price_at_booking >= 0),
    version int NOT NULL DEFAULT 1 CHECK (version > 0),
    reason text CHECK (reason IN ('staff', 'rival', 'lapsed')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    made_by text NOT NULL,
    closed_by text,
    PRIMARY KEY (store_id, booking_id),
    FOREIGN KEY (store_id, table_id) REFERENCES dining_tables,
    FOREIGN KEY (store_id, guest_id) REFERENCES guests,
    FOREIGN KEY (store_id, user_id) REFERENCES users,
    CONSTRAINT start_is_a_time CHECK (isfinite(starts_at)),
    CONSTRAINT end_comes_after_start CHECK (isfinite(ends_at) AND ends_at > starts_at),
    CONSTRAINT reason_of_a_decline CHECK ((status = 'declined') = (reason IS NOT NULL)),
    CONSTRAINT closed_once CHECK (
        (status IN ('finished', 'no_show', 'declined', 'cancelled')) = (closed_at IS NOT NULL)),
    CONSTRAINT one_booking_at_a_time EXCLUDE USING gist
        (store_id WITH =, table_id WITH =, during WITH &&)
        WHERE (status IN ('confirmed', 'seated'))
);
CREATE UNIQUE INDEX one_party_at_a_table ON bookings (store_id, table_id)
    WHERE status = 'seated';
CREATE INDEX bookings_pending ON bookings (store_id, table_id, starts_at) WHERE status = 'pending';
CREATE INDEX bookings_by_start ON bookings (store_id, starts_at, booking_id);
CREATE INDEX bookings_by_guest ON bookings (store_id, guest_id);
CREATE INDEX bookings_by_user ON bookings (store_id, user_id, booking_id)
    WHERE user_id IS NOT NULL;
COMMENT ON TABLE bookings IS
    'Who wants, has or had which table when. A pending one takes nothing; a confirmed one has the '
    'table for its time; a seated one until it is finished, past its end, too.';
COMMENT ON COLUMN bookings.store_id IS 'The restaurant.';
COMMENT ON COLUMN bookings.booking_id IS 'Made here.';
COMMENT ON COLUMN bookings.table_id IS 'The table.';
COMMENT ON COLUMN bookings.guest_id IS 'The guest''s name and contacts.';
COMMENT ON COLUMN bookings.user_id IS 'Whose it is, where a signed-in user made it.';
COMMENT ON COLUMN bookings.status IS
    'pending, confirmed, seated; ended: finished, no_show, declined, cancelled.';
COMMENT ON COLUMN bookings.starts_at IS 'From when.';
COMMENT ON COLUMN bookings.ends_at IS 'Until when, that moment not included; null: open-ended.';
COMMENT ON COLUMN bookings.during IS 'starts_at to ends_at as a range; made of them.';
COMMENT ON COLUMN bookings.guests IS 'How many come.';
COMMENT ON COLUMN bookings.price_at_booking IS
    'The table''s price when it was booked, in minor units; moving does not change it.';
COMMENT ON COLUMN bookings.version IS 'Rises with every change; the SEQUENCE of calendar entries.';
COMMENT ON COLUMN bookings.reason IS
    'Why it was declined: by staff, for a rival that was confirmed, or because its time was over.';
COMMENT ON COLUMN bookings.created_at IS 'When it was asked for.';
COMMENT ON COLUMN bookings.closed_at IS 'When it ended; null while it has not.';
COMMENT ON COLUMN bookings.made_by IS 'Who asked for it: user:17, key:3, anonymous.';
COMMENT ON COLUMN bookings.closed_by IS 'Who ended it.';

CREATE TABLE booking_links (
    store_id text COLLATE "C" NOT NULL,
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    booking_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, token_hash),
    FOREIGN KEY (store_id, booking_id) REFERENCES bookings
);
CREATE INDEX booking_links_by_booking ON booking_links (store_id, booking_id);
COMMENT ON TABLE booking_links IS
    'Links by which a guest looks at, moves and cancels a booking. Only hashes are kept: no dump '
    'holds a link that works.';
COMMENT ON COLUMN booking_links.store_id IS 'The restaurant.';
COMMENT ON COLUMN booking_links.token_hash IS 'SHA-256 of the link''s token.';
COMMENT ON COLUMN booking_links.booking_id IS 'The booking.';
COMMENT ON COLUMN booking_links.created_at IS 'When the mail with the link was made.';

CREATE TABLE booking_rules (
    store_id text COLLATE "C" PRIMARY KEY REFERENCES stores,
    rules jsonb NOT NULL CHECK (jsonb_typeof(rules) = 'object'),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL
);
COMMENT ON TABLE booking_rules IS
    'The house rules of a restaurant. Without a row nothing is restricted.';
COMMENT ON COLUMN booking_rules.store_id IS 'The restaurant.';
COMMENT ON COLUMN booking_rules.rules IS
    'time_zone, hours by weekday, closed_days, visit_minutes by party, buffer_minutes, '
    'notice_minutes, days_ahead, largest_party, reminder_hours; what is absent is not restricted.';
COMMENT ON COLUMN booking_rules.changed_at IS 'When they were set.';
COMMENT ON COLUMN booking_rules.changed_by IS 'Who set them.';
"""

DOWNGRADE = """
DROP TABLE booking_rules, booking_links, bookings, guests, dining_tables;
"""


def upgrade() -> None:
    # btree_gist lets a GiST index compare the store and the table beside the time.
    create_extension("btree_gist")
    run_script(TABLES)


def downgrade() -> None:
    revert_script(DOWNGRADE)
    drop_extension("btree_gist")
