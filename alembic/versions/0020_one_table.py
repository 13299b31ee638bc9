r"""A reservation is its lines, in one table, with the price at which they left and who did what.

Before, a callback was a row of `reservations` and one of `reservation_lines`, past two foreign keys
and four indexes: in batches of 32 that took the backend 75.7 us for 37.5 now, and 766 bytes of WAL
for 355 (docs/performance.md).

The functions go first and come back when `sql/` is replayed: meanwhile, and until it is stopped, a
process of the release before is refused when it would reserve (`database_unavailable`), so that
nothing is written that is not converted. A million reservations take some 15 s, the other way 20;
on a busy machine 50 and 42.

What is not known of a reservation made before: who made and who closed it (`unknown`), at which
price it left (null), and of a hold that was extended the lifetime first asked for: it is taken to
be the one it has now. The way back forgets all that, and stops at what the two tables cannot hold.
"""

from service.database.migrate import DROP_OBJECTS, revert_script, run_script

revision = "0020"
down_revision = "0019"

UNSEEN = r"\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F\u3000\uFEFF"

REFUSE = """
DO $$
DECLARE
    v_names text;
BEGIN
    SELECT string_agg(format('%s/%s', n.store_id, n.reservation_id), ', ') INTO v_names FROM (
        {query} ORDER BY 1, 2 LIMIT 10
    ) AS n (store_id, reservation_id);
    IF v_names IS NOT NULL THEN
        RAISE EXCEPTION '{words}: %', v_names USING HINT = 'Put them right, then migrate again.';
    END IF;
END $$;
"""

WITHOUT_LINES = """
SELECT r.store_id, r.reservation_id
FROM reservations AS r LEFT JOIN reservation_lines AS l USING (store_id, reservation_id)
WHERE l.product_id IS NULL
"""
# What was reclaimed after its time may still say held; all else would count units wrongly.
AT_ODDS = """
SELECT r.store_id, r.reservation_id
FROM reservations AS r JOIN reservation_lines AS l USING (store_id, reservation_id)
WHERE r.status <> 'held' AND l.held_until IS NOT NULL
    OR r.status = 'held' AND r.expires_at IS NULL
        AND l.held_until IS DISTINCT FROM timestamptz 'infinity'
    OR r.status = 'held' AND l.held_until <> r.expires_at
"""

# All functions go, and those that have another signature from here on by their names.
UPGRADE = f"""
DROP FUNCTION IF EXISTS reserve_stock(text, text, text, bigint, timestamptz, interval);
DROP FUNCTION IF EXISTS reserve_stock_batch(
    text, text[], timestamptz[], interval[], int[], text[], bigint[]);
DROP FUNCTION IF EXISTS reservation_requests(text, text[], interval[], int[], text[], bigint[]);
DROP FUNCTION IF EXISTS judge_reservations(text, text[], interval[], int[], text[], bigint[]);
DROP FUNCTION IF EXISTS commit_reservation(text, text);
DROP FUNCTION IF EXISTS release_reservation(text, text);
DROP FUNCTION IF EXISTS extend_reservation(text, text, interval, interval);

CREATE TYPE reservation_kind AS ENUM ('callback', 'hold', 'order');
-- In this order: the last that a line has reached is the state of the whole.
CREATE TYPE reservation_status AS ENUM ('held', 'committed', 'released', 'expired');

ALTER TABLE reservations RENAME TO reservation_headers;
ALTER TABLE reservation_headers RENAME CONSTRAINT reservations_pkey TO reservation_headers_pkey;
DROP INDEX reservations_that_lapse;
CREATE TABLE reservations (
    store_id text COLLATE "C" NOT NULL,
    reservation_id text COLLATE "C" NOT NULL,
    line smallint NOT NULL,
    kind reservation_kind NOT NULL,
    status reservation_status NOT NULL DEFAULT 'held',
    product_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    price bigint,
    requested_at timestamptz,
    lifetime interval,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    closed_at timestamptz,
    made_by text NOT NULL DEFAULT session_user,
    extended_by text,
    closed_by text
);

INSERT INTO reservations (store_id, reservation_id, line, kind, status, product_id, quantity,
    requested_at, lifetime, created_at, expires_at, closed_at, made_by, closed_by)
SELECT r.store_id, r.reservation_id,
    row_number() OVER (PARTITION BY r.store_id, r.reservation_id ORDER BY l.product_id),
    r.kind::reservation_kind, s.status::reservation_status, l.product_id, l.quantity,
    r.requested_at, r.expires_at - r.created_at, r.created_at, r.expires_at,
    CASE WHEN s.status = r.status THEN r.closed_at ELSE r.expires_at END, 'unknown',
    CASE r.status WHEN 'held' THEN NULL WHEN 'expired' THEN 'expiry' ELSE 'unknown' END
FROM reservation_headers AS r
JOIN reservation_lines AS l USING (store_id, reservation_id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN l.held_until IS NULL AND r.status = 'held' THEN 'expired'
        ELSE r.status END AS status
) AS s
ORDER BY r.created_at;
DROP TABLE reservation_lines;
DROP TABLE reservation_headers;

ALTER TABLE reservations
    ADD CONSTRAINT reservations_pkey PRIMARY KEY (store_id, reservation_id, line);
-- One pattern for both kinds of ids: every INSERT parses it anew.
ALTER TABLE reservations ADD CONSTRAINT visible_id CHECK (
    length(substr(reservation_id, CASE kind WHEN 'order' THEN 7 ELSE 1 END)) BETWEEN 1 AND 64
    AND substr(reservation_id, CASE kind WHEN 'order' THEN 7 ELSE 1 END) !~ '[{UNSEEN}:]'
    AND (kind <> 'order' OR starts_with(reservation_id, 'order:'))
);
ALTER TABLE reservations ADD CONSTRAINT some_units CHECK (quantity > 0 AND line > 0);
ALTER TABLE reservations ADD CONSTRAINT closed_when_not_held
    CHECK ((status = 'held') = (closed_at IS NULL));
ALTER TABLE reservations ADD CONSTRAINT finite_expiry CHECK (isfinite(expires_at));
-- Only what can lapse, until the sweeper has written it down: a callback costs neither anything.
CREATE INDEX reservations_that_lapse ON reservations (store_id, expires_at)
    WHERE closed_by IS NULL AND expires_at IS NOT NULL;
CREATE INDEX reservations_that_lapse_by_product
    ON reservations (store_id, product_id, expires_at)
    WHERE status = 'held' AND expires_at IS NOT NULL;

COMMENT ON TYPE reservation_kind IS 'Who a reservation was made for.';
COMMENT ON TYPE reservation_status IS 'What has become of a line of a reservation.';
COMMENT ON TABLE reservations IS
    'Who was promised what: a reservation is its lines, one row each, and line 1 is always there. '
    'A line counts in stock.reserved exactly while its status is held. One row per reservation: '
    'reservation_summaries.';
COMMENT ON COLUMN reservations.store_id IS 'The store whose stock is promised.';
COMMENT ON COLUMN reservations.reservation_id IS
    'Chosen outside: 1-64 visible characters, no colon; of an order order:{{order_id}}.';
COMMENT ON COLUMN reservations.line IS 'From 1; lines of one reservation differ in their product.';
COMMENT ON COLUMN reservations.kind IS
    'callback: asked by an external system at requested_at; hold: with lines and maybe a '
    'lifetime; order: the hold of an order.';
COMMENT ON COLUMN reservations.status IS
    'held, then committed, released or expired, once. A held line past its expires_at holds '
    'nothing any more: whoever needs its units writes that down, else the sweeper.';
COMMENT ON COLUMN reservations.product_id IS 'The product.';
COMMENT ON COLUMN reservations.quantity IS 'Units promised.';
COMMENT ON COLUMN reservations.price IS
    'Of one unit when it was committed, in minor units; null before, or where it had none.';
COMMENT ON COLUMN reservations.requested_at IS
    'The time the caller gave; recorded, never used to decide.';
COMMENT ON COLUMN reservations.lifetime IS
    'As it was first asked for; null: for good, or as its order says.';
COMMENT ON COLUMN reservations.created_at IS 'When it was made, by the database''s clock.';
COMMENT ON COLUMN reservations.expires_at IS 'When it lapses; null: never.';
COMMENT ON COLUMN reservations.closed_at IS 'When it stopped being held; null while held.';
COMMENT ON COLUMN reservations.made_by IS
    'Who made it: a caller''s name told by the function, else the session''s login.';
COMMENT ON COLUMN reservations.extended_by IS 'Who extended it last.';
COMMENT ON COLUMN reservations.closed_by IS
    'Who committed or released it; expiry: its time was over, and the sweeper has seen it.';
"""

OF_AN_ORDER = """
SELECT store_id, reservation_id FROM reservations WHERE line = 1 AND kind = 'order'
"""
OF_TWO_MINDS = """
SELECT DISTINCT l.store_id, l.reservation_id
FROM reservations AS l
LEFT JOIN reservations AS f
    ON f.store_id = l.store_id AND f.reservation_id = l.reservation_id AND f.line = 1
WHERE l.line > 1 AND (
    (l.kind, l.requested_at, l.created_at, l.expires_at)
        IS DISTINCT FROM (f.kind, f.requested_at, f.created_at, f.expires_at)
    OR l.status <> f.status AND NOT (
        l.status IN ('held', 'expired') AND f.status IN ('held', 'expired'))
)
"""
TWICE_THE_SAME = """
SELECT DISTINCT store_id, reservation_id FROM (
    SELECT store_id, reservation_id FROM reservations
    GROUP BY store_id, reservation_id, product_id HAVING count(*) > 1
) AS d
"""

DOWNGRADE = f"""
ALTER TABLE reservations RENAME TO reservations_in_one;
ALTER TABLE reservations_in_one RENAME CONSTRAINT reservations_pkey TO reservations_in_one_pkey;
DROP INDEX reservations_that_lapse;
CREATE TABLE reservations (
    store_id text COLLATE "C" NOT NULL,
    reservation_id text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('callback', 'hold', 'order')),
    status text NOT NULL DEFAULT 'held'
        CHECK (status IN ('held', 'committed', 'released', 'expired')),
    requested_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    closed_at timestamptz,
    CONSTRAINT closed_when_not_held CHECK ((status = 'held') = (closed_at IS NULL)),
    CONSTRAINT reservations_reservation_id_check CHECK (
        length(reservation_id) BETWEEN 1 AND 64 AND reservation_id !~ '[{UNSEEN}:]'
    )
);
INSERT INTO reservations (store_id, reservation_id, kind, status, requested_at, created_at,
    expires_at, closed_at)
SELECT store_id, reservation_id, min(kind)::text,
    -- While a line still holds, the whole does, and is past its time.
    CASE WHEN bool_or(status = 'held') THEN 'held' ELSE max(status)::text END,
    min(requested_at), min(created_at), min(expires_at),
    CASE WHEN bool_or(status = 'held') THEN NULL ELSE max(closed_at) END
FROM reservations_in_one GROUP BY store_id, reservation_id;
CREATE TABLE reservation_lines (
    store_id text COLLATE "C" NOT NULL,
    reservation_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    held_until timestamptz DEFAULT 'infinity'
);
INSERT INTO reservation_lines (store_id, reservation_id, product_id, quantity, held_until)
SELECT store_id, reservation_id, product_id, quantity,
    CASE status WHEN 'held' THEN COALESCE(expires_at, 'infinity') END
FROM reservations_in_one;
DROP TABLE reservations_in_one;
DROP TYPE reservation_status;
DROP TYPE reservation_kind;

ALTER TABLE reservations
    ADD CONSTRAINT reservations_pkey PRIMARY KEY (store_id, reservation_id);
CREATE INDEX reservations_that_lapse
    ON reservations (store_id, expires_at) WHERE status = 'held' AND expires_at IS NOT NULL;
ALTER TABLE reservation_lines ADD CONSTRAINT reservation_lines_pkey
    PRIMARY KEY (store_id, reservation_id, product_id);
ALTER TABLE reservation_lines ADD CONSTRAINT reservation_lines_store_id_reservation_id_fkey
    FOREIGN KEY (store_id, reservation_id) REFERENCES reservations;
ALTER TABLE reservation_lines ADD CONSTRAINT reservation_lines_store_id_product_id_fkey
    FOREIGN KEY (store_id, product_id) REFERENCES products;
CREATE INDEX reservation_lines_by_product
    ON reservation_lines (store_id, product_id, reservation_id);
CREATE INDEX reservation_lines_that_lapse
    ON reservation_lines (store_id, product_id, held_until) WHERE held_until < 'infinity';

COMMENT ON TABLE reservations IS
    'A promise of units: held, then committed, released or expired, exactly once.';
COMMENT ON COLUMN reservations.store_id IS 'The store whose stock is promised.';
COMMENT ON COLUMN reservations.reservation_id IS
    'Chosen outside: 1-64 visible characters, no colon.';
COMMENT ON COLUMN reservations.kind IS
    'callback: asked by an external system at requested_at; hold: with lines and maybe a '
    'lifetime; order: the hold of an order.';
COMMENT ON COLUMN reservations.status IS
    'held until resolved. A hold past its expires_at counts as expired even while it says held.';
COMMENT ON COLUMN reservations.requested_at IS
    'The time the caller gave; recorded, never used to decide.';
COMMENT ON COLUMN reservations.created_at IS 'When it was made, by the database''s clock.';
COMMENT ON COLUMN reservations.expires_at IS 'When it lapses; null: never.';
COMMENT ON COLUMN reservations.closed_at IS 'When it stopped being held; null while held.';
COMMENT ON TABLE reservation_lines IS
    'What a reservation promises, one row per product; product and quantity never change.';
COMMENT ON COLUMN reservation_lines.store_id IS 'The store.';
COMMENT ON COLUMN reservation_lines.reservation_id IS 'The reservation.';
COMMENT ON COLUMN reservation_lines.product_id IS 'The product.';
COMMENT ON COLUMN reservation_lines.quantity IS 'Units promised.';
COMMENT ON COLUMN reservation_lines.held_until IS
    'Until when these units count in stock.reserved: infinity without expiry, null once they '
    'count no more (committed, released, or reclaimed after expiry). Changed only by who has '
    'locked the stock row.';
"""


def refuse(query: str, words: str) -> str:
    """Stop, naming the reservations that a query finds."""
    return REFUSE.format(query=query.strip(), words=words)


def upgrade() -> None:
    run_script(refuse(WITHOUT_LINES, "These reservations have no lines"))
    run_script(refuse(AT_ODDS, "These reservations and their lines say different things"))
    run_script(DROP_OBJECTS + UPGRADE)


def downgrade() -> None:
    run_script(refuse(OF_AN_ORDER, "Two tables cannot hold the reservations of orders"))
    run_script(refuse(OF_TWO_MINDS, "The lines of these reservations say different things"))
    run_script(refuse(TWICE_THE_SAME, "These reservations have two lines of one product"))
    revert_script(DOWNGRADE)
