"""Answers kept under an Idempotency-Key; a position for each movement that is committed."""

from service.database.migrate import revert_script, run_script

revision = "0004"
down_revision = "0003"

UPGRADE = """
CREATE TABLE idempotency_keys (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    caller text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL
        CHECK (idempotency_key ~ '^[ -~]+$' AND length(idempotency_key) <= 255),
    fingerprint text NOT NULL,
    status int NOT NULL CHECK (status BETWEEN 200 AND 299),
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, caller, route, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (store_id, created_at);
COMMENT ON TABLE idempotency_keys IS
    'Answers to requests that brought an Idempotency-Key, committed with what they did '
    '(draft-ietf-httpapi-idempotency-key-header). Refusals are not kept.';
COMMENT ON COLUMN idempotency_keys.store_id IS 'The store that the request was about.';
COMMENT ON COLUMN idempotency_keys.caller IS 'Who sent it: one caller''s keys are not another''s.';
COMMENT ON COLUMN idempotency_keys.route IS 'The method and the path''s pattern.';
COMMENT ON COLUMN idempotency_keys.idempotency_key IS
    'Chosen by the caller: 1-255 printable ASCII characters.';
COMMENT ON COLUMN idempotency_keys.fingerprint IS
    'SHA-256 of the path and the body, in hex: the same key may not stand for another request.';
COMMENT ON COLUMN idempotency_keys.status IS 'The HTTP status that was answered.';
COMMENT ON COLUMN idempotency_keys.body IS 'The body that was answered, to the letter.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When; after 30 days the key is free again.';

ALTER TABLE stock_movements ADD COLUMN position bigint;
CREATE UNIQUE INDEX stock_movements_by_position ON stock_movements (store_id, position)
    WHERE position IS NOT NULL;
CREATE INDEX stock_movements_without_position ON stock_movements (store_id, movement_id)
    WHERE position IS NULL;
COMMENT ON COLUMN stock_movements.position IS
    'From 1 without a gap, in an order in which the rows were committed; given to rows once they '
    'are committed, by sequence_movements(), so that whoever reads by it misses none.';
"""

DOWNGRADE = """
DROP INDEX stock_movements_without_position, stock_movements_by_position;
ALTER TABLE stock_movements DROP COLUMN position;
DROP TABLE idempotency_keys;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
