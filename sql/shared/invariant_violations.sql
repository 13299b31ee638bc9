CREATE VIEW invariant_violations AS
WITH open_holds AS (
    SELECT store_id, product_id, sum(quantity) AS quantity
    FROM reservation_lines WHERE held_until IS NOT NULL
    GROUP BY store_id, product_id
), ledger AS (
    SELECT store_id, product_id, movement_id, on_hand_after,
        sum(delta) OVER (PARTITION BY store_id, product_id ORDER BY movement_id) AS running,
        row_number() OVER (PARTITION BY store_id, product_id ORDER BY movement_id DESC) AS from_end
    FROM stock_movements
), balances AS (
    SELECT store_id, product_id, running FROM ledger WHERE from_end = 1
)
SELECT 'never_oversold' AS invariant, store_id, product_id AS subject,
    '0 <= reserved <= on_hand' AS expected, format('%s of %s', reserved, on_hand) AS found
FROM stock WHERE NOT (0 <= reserved AND reserved <= on_hand)
UNION ALL
SELECT 'reserved_equals_open_holds', store_id, product_id,
    COALESCE(h.quantity, 0)::text, COALESCE(s.reserved, 0)::text
FROM stock AS s FULL JOIN open_holds AS h USING (store_id, product_id)
WHERE COALESCE(s.reserved, 0) <> COALESCE(h.quantity, 0)
UNION ALL
SELECT 'on_hand_equals_movements', store_id, product_id,
    COALESCE(b.running, 0)::text, COALESCE(s.on_hand, 0)::text
FROM stock AS s FULL JOIN balances AS b USING (store_id, product_id)
WHERE COALESCE(s.on_hand, 0) <> COALESCE(b.running, 0)
UNION ALL
SELECT 'movement_continues_the_last', store_id, format('%s/%s', product_id, movement_id),
    running::text, on_hand_after::text
FROM ledger WHERE running <> on_hand_after
UNION ALL
SELECT 'product_has_stock', store_id, product_id, 'a row of stock', 'none'
FROM products AS p LEFT JOIN stock AS s USING (store_id, product_id)
WHERE s.product_id IS NULL
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
SELECT invariant, store_id, subject, expected, found FROM account_violations;

COMMENT ON VIEW invariant_violations IS
    'The proof that nothing is wrong: one row per broken invariant, no row means healthy.';
COMMENT ON COLUMN invariant_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN invariant_violations.store_id IS 'In which store.';
COMMENT ON COLUMN invariant_violations.subject IS 'On what: a product, a movement, a line.';
COMMENT ON COLUMN invariant_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN invariant_violations.found IS 'What stands in the row instead.';
