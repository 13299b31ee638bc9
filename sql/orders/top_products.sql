CREATE VIEW top_products AS
WITH RECURSIVE sold AS (
    SELECT s.store_id, s.product_id, sum(s.units) AS units,
        row_number() OVER (PARTITION BY s.store_id ORDER BY sum(s.units) DESC, s.product_id) AS rank
    FROM product_sales AS s
    WHERE s.day > (statement_timestamp() AT TIME ZONE 'UTC')::date - 30
    GROUP BY s.store_id, s.product_id HAVING sum(s.units) > 0
), amounts AS (
    SELECT t.store_id, t.product_id, sum(s.amount) AS amount
    FROM sold AS t JOIN product_sales AS s USING (store_id, product_id)
    WHERE t.rank <= 5 AND s.day > (statement_timestamp() AT TIME ZONE 'UTC')::date - 30
    GROUP BY t.store_id, t.product_id
), above AS (
    SELECT t.store_id, t.product_id, t.rank, p.category_id
    FROM sold AS t JOIN products AS p USING (store_id, product_id)
    WHERE t.rank <= 5
    UNION ALL
    SELECT a.store_id, a.product_id, a.rank, c.parent_id
    FROM above AS a JOIN categories AS c USING (store_id, category_id)
    WHERE c.parent_id IS NOT NULL
), top_level AS (
    SELECT a.store_id, a.product_id, c.category_id
    FROM above AS a JOIN categories AS c USING (store_id, category_id)
    WHERE c.parent_id IS NULL
)
SELECT t.store_id, t.rank, t.product_id, p.name, l.category_id, t.units, a.amount
FROM sold AS t
JOIN amounts AS a USING (store_id, product_id)
JOIN products AS p USING (store_id, product_id)
LEFT JOIN top_level AS l USING (store_id, product_id)
WHERE t.rank <= 5;

COMMENT ON VIEW top_products IS
    'The five products of each store of which orders sold most units, less refunds, within 30 days '
    'by UTC.';
COMMENT ON COLUMN top_products.store_id IS 'The store.';
COMMENT ON COLUMN top_products.rank IS 'From 1, the most sold.';
COMMENT ON COLUMN top_products.product_id IS 'The product.';
COMMENT ON COLUMN top_products.name IS 'What people call it.';
COMMENT ON COLUMN top_products.category_id IS 'Its category of the first level; null: none.';
COMMENT ON COLUMN top_products.units IS 'Units sold.';
COMMENT ON COLUMN top_products.amount IS 'What they cost, in minor units.';
