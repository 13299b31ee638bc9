CREATE VIEW stock_violations AS
WITH open_holds AS (
    SELECT store_id, product_id, sum(quantity) AS quantity
    FROM reservations WHERE status = 'held'
    GROUP BY store_id, product_id
), sums AS (
    SELECT store_id, product_id, sum(delta) AS on_hand
    FROM stock_movements GROUP BY store_id, product_id
), ledger AS (
    SELECT store_id, product_id, number, on_hand_after,
        lag(number, 1, 0::bigint) OVER w + 1 AS next_number,
        lag(on_hand_after, 1, 0::bigint) OVER w + delta AS next_on_hand
    FROM stock_movements
    WINDOW w AS (PARTITION BY store_id, product_id ORDER BY number)
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
    COALESCE(m.on_hand, 0)::text, COALESCE(s.on_hand, 0)::text
FROM stock AS s FULL JOIN sums AS m USING (store_id, product_id)
WHERE COALESCE(s.on_hand, 0) <> COALESCE(m.on_hand, 0)
UNION ALL
SELECT 'movement_follows_the_last', store_id, product_id, next_number::text, number::text
FROM ledger WHERE number <> next_number
UNION ALL
SELECT 'movement_continues_the_last', store_id, format('%s/%s', product_id, number),
    next_on_hand::text, on_hand_after::text
FROM ledger WHERE on_hand_after <> next_on_hand
UNION ALL
SELECT 'positions_have_no_gap', store_id, store_id, count(position)::text, max(position)::text
FROM stock_movements GROUP BY store_id HAVING count(position) <> max(position)
UNION ALL
SELECT 'product_has_stock', store_id, product_id, 'a row of stock', 'none'
FROM products AS p LEFT JOIN stock AS s USING (store_id, product_id)
WHERE s.product_id IS NULL;

COMMENT ON VIEW stock_violations IS
    'The part of invariant_violations that is about stock and its ledger.';
COMMENT ON COLUMN stock_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN stock_violations.store_id IS 'In which store.';
COMMENT ON COLUMN stock_violations.subject IS
    'On what: a product, one of its movements by its number, as tea/17, or the store.';
COMMENT ON COLUMN stock_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN stock_violations.found IS 'What stands in the row instead.';
