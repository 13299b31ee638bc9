CREATE VIEW reservation_summaries AS
SELECT
    store_id,
    reservation_id,
    min(kind) AS kind,
    reservation_state(max(status), min(expires_at), clock_timestamp()) AS status,
    count(*) AS line_count,
    sum(quantity) AS units,
    string_agg(format('%s x %s', quantity, product_id), ', ' ORDER BY line) AS content,
    sum(quantity * price) AS amount,
    min(requested_at) AS requested_at,
    min(created_at) AS created_at,
    min(expires_at) AS expires_at,
    max(closed_at) AS closed_at,
    min(made_by) AS made_by,
    min(extended_by) AS extended_by,
    min(closed_by) AS closed_by
FROM reservations
GROUP BY store_id, reservation_id;

COMMENT ON VIEW reservation_summaries IS
    'One row per reservation, for people; the table has one per line.';
COMMENT ON COLUMN reservation_summaries.store_id IS 'The store whose stock is promised.';
COMMENT ON COLUMN reservation_summaries.reservation_id IS 'The reservation.';
COMMENT ON COLUMN reservation_summaries.kind IS 'callback, hold or order.';
COMMENT ON COLUMN reservation_summaries.status IS
    'What state it is in now: a hold past its time has expired, whether or not its lines say so.';
COMMENT ON COLUMN reservation_summaries.line_count IS 'How many products it holds.';
COMMENT ON COLUMN reservation_summaries.units IS 'Units of all lines.';
COMMENT ON COLUMN reservation_summaries.content IS 'Units of each product, such as "2 x tea".';
COMMENT ON COLUMN reservation_summaries.amount IS
    'What it was worth when it was committed, in minor units; null before.';
COMMENT ON COLUMN reservation_summaries.requested_at IS 'The time the caller gave.';
COMMENT ON COLUMN reservation_summaries.created_at IS 'When it was made.';
COMMENT ON COLUMN reservation_summaries.expires_at IS 'When it lapses; null: never.';
COMMENT ON COLUMN reservation_summaries.closed_at IS 'When it was resolved, or lapsed.';
COMMENT ON COLUMN reservation_summaries.made_by IS 'Who made it.';
COMMENT ON COLUMN reservation_summaries.extended_by IS 'Who extended it last.';
COMMENT ON COLUMN reservation_summaries.closed_by IS 'Who resolved it; expiry: nobody did.';
