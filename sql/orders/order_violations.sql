CREATE VIEW order_violations AS
WITH holds AS (
    SELECT store_id, substr(reservation_id, 7) AS order_id, max(status) AS status,
        min(expires_at) AS expires_at
    FROM reservations WHERE kind = 'order' GROUP BY store_id, reservation_id
), wanted AS (
    SELECT o.store_id, o.order_id, l.product_id, l.quantity
    FROM orders AS o JOIN order_lines AS l USING (store_id, order_id)
    LEFT JOIN holds AS h USING (store_id, order_id)
    WHERE order_state(o.status, h.status, h.expires_at, statement_timestamp()) = 'open'
), held AS (
    SELECT r.store_id, substr(r.reservation_id, 7) AS order_id, r.product_id, r.quantity
    FROM reservations AS r
    WHERE r.kind = 'order'
        AND reservation_state(r.status, r.expires_at, statement_timestamp()) = 'held'
), sold AS (
    SELECT o.store_id, o.order_id, l.product_id, l.quantity, l.refunded, l.price_at_purchase,
        (o.paid_at AT TIME ZONE 'UTC')::date AS day
    FROM orders AS o JOIN order_lines AS l USING (store_id, order_id) WHERE o.status = 'paid'
), gone AS (
    SELECT r.store_id, substr(r.reservation_id, 7) AS order_id, r.product_id, r.quantity, r.price
    FROM reservations AS r WHERE r.kind = 'order' AND r.status = 'committed'
), sums AS (
    SELECT store_id, order_id, sum(quantity::numeric * price_at_purchase) AS total,
        sum(refunded::numeric * price_at_purchase) AS refunded_total
    FROM order_lines GROUP BY store_id, order_id
), given_back AS (
    SELECT store_id, order_id, product_id, sum(quantity) AS quantity, sum(amount) AS amount,
        COALESCE(sum(quantity) FILTER (WHERE is_restocked), 0) AS restocked
    FROM order_refunds GROUP BY store_id, order_id, product_id
), came_back AS (
    SELECT store_id, substr(reference, 7) AS order_id, product_id, sum(delta) AS restocked
    FROM stock_movements WHERE reason = 'return' GROUP BY store_id, reference, product_id
), entries AS (
    SELECT store_id, reference AS order_id, format('account %s: %s and %s', account_id,
        COALESCE(sum(amount) FILTER (WHERE reason = 'order'), 0),
        COALESCE(sum(amount) FILTER (WHERE reason = 'refund'), 0)) AS money
    FROM account_entries WHERE reason IN ('order', 'refund')
    GROUP BY store_id, reference, account_id
), payments AS (
    SELECT store_id, order_id,
        format('account %s: %s and %s', account_id, -total, refunded_total) AS money
    FROM orders WHERE status = 'paid' AND account_id IS NOT NULL AND total > 0
), days AS (
    SELECT store_id, day, product_id, sum(quantity - refunded) AS units,
        sum((quantity - refunded)::numeric * price_at_purchase) AS amount
    FROM sold GROUP BY store_id, day, product_id
)
SELECT 'order_holds_its_lines' AS invariant, store_id,
    format('%s/%s', order_id, product_id) AS subject,
    COALESCE(w.quantity, 0)::text AS expected, COALESCE(h.quantity, 0)::text AS found
FROM wanted AS w FULL JOIN held AS h USING (store_id, order_id, product_id)
WHERE w.quantity IS DISTINCT FROM h.quantity
UNION ALL
SELECT 'order_total_is_its_lines', store_id, order_id,
    format('%s, refunded %s', COALESCE(s.total, 0), COALESCE(s.refunded_total, 0)),
    format('%s, refunded %s', o.total, o.refunded_total)
FROM orders AS o LEFT JOIN sums AS s USING (store_id, order_id)
WHERE (o.total, o.refunded_total)
    IS DISTINCT FROM (COALESCE(s.total, 0), COALESCE(s.refunded_total, 0))
UNION ALL
SELECT 'paid_order_left_the_stock', store_id, format('%s/%s', order_id, product_id),
    format('%s at %s', s.quantity, s.price_at_purchase), format('%s at %s', g.quantity, g.price)
FROM sold AS s FULL JOIN gone AS g USING (store_id, order_id, product_id)
WHERE (s.quantity, s.price_at_purchase) IS DISTINCT FROM (g.quantity, g.price)
UNION ALL
SELECT 'order_is_paid_once', store_id, order_id, COALESCE(p.money, 'no entry'),
    COALESCE(e.money, 'no entry')
FROM payments AS p FULL JOIN entries AS e USING (store_id, order_id)
WHERE p.money IS DISTINCT FROM e.money
UNION ALL
SELECT 'line_is_refunded_as_written', store_id, format('%s/%s', order_id, product_id),
    format('%s for %s', COALESCE(g.quantity, 0), COALESCE(g.amount, 0)),
    format('%s for %s', l.refunded, l.refunded::numeric * l.price_at_purchase)
FROM order_lines AS l LEFT JOIN given_back AS g USING (store_id, order_id, product_id)
WHERE (l.refunded, l.refunded::numeric * l.price_at_purchase)
    IS DISTINCT FROM (COALESCE(g.quantity, 0), COALESCE(g.amount, 0))
UNION ALL
SELECT 'restocked_units_came_back', store_id, format('%s/%s', order_id, product_id),
    COALESCE(g.restocked, 0)::text, COALESCE(c.restocked, 0)::text
FROM given_back AS g FULL JOIN came_back AS c USING (store_id, order_id, product_id)
WHERE COALESCE(g.restocked, 0) <> COALESCE(c.restocked, 0)
UNION ALL
SELECT 'sales_are_what_orders_say', store_id, format('%s on %s', product_id, day),
    format('%s for %s', COALESCE(d.units, 0), COALESCE(d.amount, 0)),
    format('%s for %s', COALESCE(s.units, 0), COALESCE(s.amount, 0))
FROM days AS d FULL JOIN product_sales AS s USING (store_id, day, product_id)
WHERE (COALESCE(d.units, 0), COALESCE(d.amount, 0))
    IS DISTINCT FROM (COALESCE(s.units, 0), COALESCE(s.amount, 0));

COMMENT ON VIEW order_violations IS
    'The part of invariant_violations that is about orders: lines, holds, money, refunds, sales.';
COMMENT ON COLUMN order_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN order_violations.store_id IS 'In which store.';
COMMENT ON COLUMN order_violations.subject IS
    'On what: an order, a line as order/product, a product on a day.';
COMMENT ON COLUMN order_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN order_violations.found IS 'What stands in the row instead.';
