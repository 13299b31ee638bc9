CREATE VIEW invariant_violations AS
SELECT invariant, store_id, subject, expected, found FROM stock_violations
UNION ALL
SELECT 'reservation_has_lines', r.store_id, r.reservation_id, 'lines', 'none'
FROM reservations AS r
WHERE NOT EXISTS (
    SELECT FROM reservation_lines AS l
    WHERE l.store_id = r.store_id AND l.reservation_id = r.reservation_id
)
UNION ALL
SELECT 'line_holds_as_its_reservation', store_id, format('%s/%s', reservation_id, l.product_id),
    CASE WHEN r.status = 'held' THEN COALESCE(r.expires_at, 'infinity')::text ELSE 'none' END,
    COALESCE(l.held_until::text, 'none')
FROM reservations AS r JOIN reservation_lines AS l USING (store_id, reservation_id)
WHERE l.held_until IS DISTINCT FROM
        CASE WHEN r.status = 'held' THEN COALESCE(r.expires_at, 'infinity') END
    AND NOT (l.held_until IS NULL AND r.status = 'held' AND r.expires_at <= clock_timestamp())
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM account_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM booking_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM webhook_violations;

COMMENT ON VIEW invariant_violations IS
    'The proof that nothing is wrong: one row per broken invariant, no row means healthy.';
COMMENT ON COLUMN invariant_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN invariant_violations.store_id IS 'In which store.';
COMMENT ON COLUMN invariant_violations.subject IS 'On what: a product, a movement, a line.';
COMMENT ON COLUMN invariant_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN invariant_violations.found IS 'What stands in the row instead.';
