CREATE VIEW reservation_violations AS
WITH committed AS (
    SELECT store_id, reservation_id, product_id, sum(quantity) AS quantity
    FROM reservations WHERE status = 'committed' GROUP BY store_id, reservation_id, product_id
), gone AS (
    SELECT store_id, reference AS reservation_id, product_id, -sum(delta) AS quantity
    FROM stock_movements
    WHERE reference IS NOT NULL AND reason IN ('commit', 'adjustment')
    GROUP BY store_id, reference, product_id
)
SELECT 'committed_goods_left' AS invariant, store_id,
    format('%s/%s', reservation_id, product_id) AS subject,
    COALESCE(c.quantity, 0)::text AS expected, COALESCE(g.quantity, 0)::text AS found
FROM committed AS c FULL JOIN gone AS g USING (store_id, reservation_id, product_id)
WHERE COALESCE(c.quantity, 0) <> COALESCE(g.quantity, 0)
UNION ALL
SELECT 'lines_are_of_one_reservation', l.store_id, format('%s/%s', l.reservation_id, l.line),
    COALESCE(jsonb_build_array(f.kind, f.status, f.requested_at, f.lifetime, f.created_at,
        f.expires_at, f.made_by)::text, 'a line 1'),
    jsonb_build_array(l.kind, l.status, l.requested_at, l.lifetime, l.created_at,
        l.expires_at, l.made_by)::text
FROM reservations AS l
LEFT JOIN reservations AS f
    ON f.store_id = l.store_id AND f.reservation_id = l.reservation_id AND f.line = 1
WHERE l.line > 1 AND (
    (l.kind, l.requested_at, l.lifetime, l.created_at, l.expires_at, l.made_by)
        IS DISTINCT FROM
        (f.kind, f.requested_at, f.lifetime, f.created_at, f.expires_at, f.made_by)
    OR l.status <> f.status AND NOT (
        l.expires_at IS NOT NULL
        AND l.status IN ('held', 'expired') AND f.status IN ('held', 'expired'))
)
UNION ALL
SELECT 'lines_are_of_one_reservation', l.store_id, format('%s/%s', l.reservation_id, l.line),
    'a product of its own', format('%s, as line %s', l.product_id, f.line)
FROM reservations AS l
JOIN reservations AS f
    ON f.store_id = l.store_id AND f.reservation_id = l.reservation_id AND f.line < l.line
WHERE l.line > 1 AND l.product_id = f.product_id
UNION ALL
SELECT 'reserved_product_is_known', l.store_id, l.product_id, 'a product', 'none'
FROM (SELECT DISTINCT store_id, product_id FROM reservations) AS l
LEFT JOIN products AS p USING (store_id, product_id)
WHERE p.product_id IS NULL;

COMMENT ON VIEW reservation_violations IS
    'The part of invariant_violations that is about reservations: ledger and statuses agree, '
    'lines are what their reservation is.';
COMMENT ON COLUMN reservation_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN reservation_violations.store_id IS 'In which store.';
COMMENT ON COLUMN reservation_violations.subject IS
    'On what: goods as reservation/product, a line as reservation/line, a product.';
COMMENT ON COLUMN reservation_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN reservation_violations.found IS 'What stands in the row instead.';
