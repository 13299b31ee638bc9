CREATE VIEW client_sales AS
SELECT c.store_id, c.client_id, c.name, c.address, s.order_count, s.total
FROM clients AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS order_count, sum(o.total - o.refunded_total) AS total
    FROM orders AS o
    WHERE o.store_id = c.store_id AND o.client_id = c.client_id AND o.status = 'paid'
) AS s
WHERE s.order_count > 0;

COMMENT ON VIEW client_sales IS 'What each client has paid for orders, less refunds.';
COMMENT ON COLUMN client_sales.store_id IS 'The store.';
COMMENT ON COLUMN client_sales.client_id IS 'The client.';
COMMENT ON COLUMN client_sales.name IS 'The client''s name.';
COMMENT ON COLUMN client_sales.address IS 'The client''s address.';
COMMENT ON COLUMN client_sales.order_count IS 'How many orders were paid.';
COMMENT ON COLUMN client_sales.total IS 'Their totals less refunds, in minor units.';
