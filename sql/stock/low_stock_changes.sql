CREATE VIEW low_stock_changes AS
SELECT store_id, product_id, true AS is_low
FROM products AS p
JOIN stock AS s USING (store_id, product_id)
LEFT JOIN low_stock AS l USING (store_id, product_id)
WHERE p.low_at IS NOT NULL AND p.is_active AND s.on_hand - s.reserved <= p.low_at
    AND l.since IS NULL
UNION ALL
SELECT store_id, product_id, false
FROM low_stock
JOIN products AS p USING (store_id, product_id)
JOIN stock AS s USING (store_id, product_id)
WHERE (p.is_active AND s.on_hand - s.reserved <= p.low_at) IS NOT TRUE;

COMMENT ON VIEW low_stock_changes IS
    'Products that are low and not yet announced as such, and those that are low no more.';
COMMENT ON COLUMN low_stock_changes.store_id IS 'The store.';
COMMENT ON COLUMN low_stock_changes.product_id IS 'The product.';
COMMENT ON COLUMN low_stock_changes.is_low IS 'Whether it is low now.';
