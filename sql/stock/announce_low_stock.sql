CREATE OR REPLACE FUNCTION announce_low_stock(
    p_store_id text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_product_ids text[] := ARRAY(
        SELECT product_id FROM low_stock_changes
        WHERE store_id = p_store_id ORDER BY product_id LIMIT p_limit
    );
    v_fallen text[];
    v_risen text[];
    v_events jsonb[];
BEGIN
    -- Lock. It takes the units of lapsed holds back, so that only what is low is announced.
    PERFORM lock_stock(p_store_id, v_product_ids);
    -- LATERAL looks each product up by its key; a join would read all that are watched.
    SELECT array_agg(w.id ORDER BY w.id COLLATE "C") FILTER (WHERE f.is_low AND f.since IS NULL),
        array_agg(f.event ORDER BY w.id COLLATE "C") FILTER (WHERE f.is_low AND f.since IS NULL),
        array_agg(w.id) FILTER (WHERE f.is_low IS NOT TRUE)
    INTO v_fallen, v_events, v_risen
    FROM unnest(v_product_ids) AS w (id) CROSS JOIN LATERAL (
        SELECT p.is_active AND s.on_hand - s.reserved <= p.low_at AS is_low, l.since,
            jsonb_build_object(
                'product_id', p.product_id, 'name', p.name,
                'available', s.on_hand - s.reserved, 'low_at', p.low_at) AS event
        FROM products AS p
        JOIN stock AS s USING (store_id, product_id)
        LEFT JOIN low_stock AS l USING (store_id, product_id)
        WHERE p.store_id = p_store_id AND p.product_id = w.id LIMIT 1
    ) AS f;

    -- Write.
    DELETE FROM low_stock WHERE store_id = p_store_id AND product_id = ANY (v_risen);
    INSERT INTO low_stock (store_id, product_id, since)
    SELECT p_store_id, f.product_id, v_now FROM unnest(v_fallen) AS f (product_id);
    PERFORM emit_events(p_store_id, 'stock.low', v_events);
    document := jsonb_build_object('done', cardinality(v_product_ids));
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION announce_low_stock IS
    'Tell webhooks which products have become low, once until there is more again, for up to '
    'p_limit of them. document: how many were looked at. Code: ok.';
