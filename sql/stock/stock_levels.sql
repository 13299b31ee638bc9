CREATE VIEW stock_levels AS
SELECT
    s.store_id,
    s.product_id,
    p.name,
    s.on_hand,
    s.reserved - lapsed.quantity AS reserved,
    s.on_hand - s.reserved + lapsed.quantity AS available,
    p.price,
    p.is_active,
    p.category_id,
    p.low_at
FROM stock AS s
JOIN products AS p USING (store_id, product_id)
CROSS JOIN LATERAL (
    SELECT COALESCE(sum(l.quantity), 0)::bigint AS quantity
    FROM reservations AS l
    WHERE l.store_id = s.store_id AND l.product_id = s.product_id
        AND l.status = 'held' AND l.expires_at IS NOT NULL AND l.expires_at <= clock_timestamp()
) AS lapsed;

COMMENT ON VIEW stock_levels IS
    'What each store has of each product, with its name; holds that have lapsed do not count.';
COMMENT ON COLUMN stock_levels.store_id IS 'The store.';
COMMENT ON COLUMN stock_levels.product_id IS 'The product.';
COMMENT ON COLUMN stock_levels.name IS 'What people call the product.';
COMMENT ON COLUMN stock_levels.on_hand IS 'Units in the store.';
COMMENT ON COLUMN stock_levels.reserved IS 'Units promised to live holds.';
COMMENT ON COLUMN stock_levels.available IS 'on_hand - reserved: what the next caller can have.';
COMMENT ON COLUMN stock_levels.price IS 'Of one unit, in minor units; null: not for sale.';
COMMENT ON COLUMN stock_levels.is_active IS 'Whether the product is offered.';
COMMENT ON COLUMN stock_levels.category_id IS 'The category the product belongs to; null: none.';
COMMENT ON COLUMN stock_levels.low_at IS 'At so many units webhooks are told; null: never.';
