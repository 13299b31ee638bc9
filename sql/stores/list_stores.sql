CREATE OR REPLACE FUNCTION list_stores(
    p_only text, p_after text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := 'ok';
    SELECT jsonb_build_object(
        'stores', COALESCE(jsonb_agg(jsonb_build_object(
            'store_id', s.store_id, 'name', s.name, 'created_at', rfc3339(s.created_at)
        ) ORDER BY s.store_id) FILTER (WHERE s.number <= p_limit), '[]'),
        'next', CASE WHEN count(*) > p_limit
            THEN max(s.store_id) FILTER (WHERE s.number = p_limit) END)
    INTO document
    FROM (
        SELECT store_id, name, created_at, row_number() OVER (ORDER BY store_id) AS number
        FROM stores
        WHERE store_id > COALESCE(p_after, '') COLLATE "C" AND (p_only IS NULL OR store_id = p_only)
        ORDER BY store_id LIMIT p_limit + 1
    ) AS s;
END $$;

COMMENT ON FUNCTION list_stores IS
    'The stores by id, at most p_limit after p_after; p_only: that one alone, where it comes after '
    'p_after. next is the p_after of the page that follows, or null. Codes: ok.';
