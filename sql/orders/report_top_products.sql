CREATE OR REPLACE FUNCTION report_top_products(
    p_store_id text, p_days int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
-- A generic plan knows not how many days are meant, and reads them all.
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_first date := (clock_timestamp() AT TIME ZONE 'UTC')::date - p_days + 1;
    v_product record;
    v_products jsonb := jsonb '[]';
BEGIN
    FOR v_product IN
        SELECT t.product_id, t.units, a.amount, p.name, p.category_id
        FROM (
            SELECT s.product_id, sum(s.units) AS units FROM product_sales AS s
            WHERE s.store_id = p_store_id AND s.day >= v_first
            GROUP BY s.product_id HAVING sum(s.units) > 0
            ORDER BY sum(s.units) DESC, s.product_id LIMIT 5
        ) AS t
        CROSS JOIN LATERAL (
            SELECT sum(s.amount) AS amount FROM product_sales AS s
            WHERE s.store_id = p_store_id AND s.product_id = t.product_id AND s.day >= v_first
        ) AS a
        JOIN products AS p ON p.store_id = p_store_id AND p.product_id = t.product_id
        ORDER BY t.units DESC, t.product_id
    LOOP
        v_products := v_products || jsonb_build_object(
            'product_id', v_product.product_id, 'name', v_product.name,
            'category', category_path(p_store_id, v_product.category_id) -> 0,
            'units', v_product.units, 'amount', v_product.amount);
    END LOOP;
    document := jsonb_build_object('days', p_days, 'products', v_products);
    result_code := CASE
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'ok'
        ELSE 'unknown_store' END;
END $$;

COMMENT ON FUNCTION report_top_products IS
    'The five products of which orders sold most units, less refunds, within p_days days by UTC '
    'with today, each with its category of the first level. Codes: ok, unknown_store.';
