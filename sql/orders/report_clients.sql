CREATE OR REPLACE FUNCTION report_clients(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := CASE
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'ok'
        ELSE 'unknown_store' END;
    SELECT jsonb_build_object(
        'clients', COALESCE(jsonb_agg(jsonb_build_object('client_id', f.client_id, 'name', f.name,
            'address', f.address, 'orders', f.order_count, 'total', f.total)
            ORDER BY f.client_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(f.client_id) END)
    INTO document
    FROM (
        SELECT c.* FROM client_sales AS c
        WHERE c.store_id = p_store_id AND c.client_id > COALESCE(p_after, 0)
        ORDER BY c.client_id LIMIT p_limit
    ) AS f;
END $$;

COMMENT ON FUNCTION report_clients IS
    'What each client has paid for orders, less refunds, by client, at most p_limit after p_after. '
    'Codes: ok, unknown_store.';
