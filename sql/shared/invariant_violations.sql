CREATE VIEW invariant_violations AS
SELECT invariant, store_id, subject, expected, found FROM stock_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM reservation_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM account_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM booking_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM order_violations
UNION ALL
SELECT invariant, store_id, subject, expected, found FROM webhook_violations;

COMMENT ON VIEW invariant_violations IS
    'The proof that nothing is wrong: one row per broken invariant, no row means healthy.';
COMMENT ON COLUMN invariant_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN invariant_violations.store_id IS 'In which store.';
COMMENT ON COLUMN invariant_violations.subject IS 'On what: a product, a movement, a line.';
COMMENT ON COLUMN invariant_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN invariant_violations.found IS 'What stands in the row instead.';
