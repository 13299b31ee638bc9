CREATE OR REPLACE FUNCTION count_sales(
    p_store_id text, p_paid_at timestamptz, p_product_ids text[], p_units bigint[],
    p_amounts numeric[]
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_day date := (p_paid_at AT TIME ZONE 'UTC')::date;
BEGIN
    INSERT INTO product_sales AS s (store_id, day, product_id, units, amount)
    SELECT p_store_id, v_day, n.id, 0, 0
    FROM (SELECT DISTINCT w.id COLLATE "C" AS id FROM unnest(p_product_ids) AS w (id)) AS n
    ORDER BY n.id
    ON CONFLICT (store_id, day, product_id) DO NOTHING;
    UPDATE product_sales AS s SET units = s.units + n.units, amount = s.amount + n.amount
    FROM (
        SELECT w.id, sum(w.units) AS units, sum(w.amount) AS amount
        FROM unnest(p_product_ids, p_units, p_amounts) AS w (id, units, amount) GROUP BY w.id
    ) AS n
    WHERE s.store_id = p_store_id AND s.day = v_day AND s.product_id = n.id;
END $$;

COMMENT ON FUNCTION count_sales IS
    'Count what an order paid at p_paid_at has sold, or, below zero, what is refunded of it. The '
    'caller has locked the stock of the products.';
