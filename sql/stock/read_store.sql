CREATE OR REPLACE FUNCTION read_store(
    p_store_id text, p_at timestamptz, p_after text, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_most int := most_items();
    v_is_page boolean := COALESCE(p_after, p_limit::text) IS NOT NULL;
    v_limit int := COALESCE(p_limit, CASE WHEN v_is_page THEN 100 ELSE v_most END);
    v_report jsonb;
    v_count bigint;
    v_last text;
BEGIN
    -- Counted first, up to there: it takes a hundredth of the time that the document does.
    IF NOT v_is_page AND p_at IS NULL THEN
        v_count := (SELECT count(*) FROM (
            SELECT FROM stock WHERE store_id = p_store_id AND on_hand <> 0 LIMIT v_most + 1
        ) AS s);
    END IF;
    IF COALESCE(v_count, 0) <= v_most THEN
        SELECT min(i.result_code), count(*), max(i.product_id) FILTER (WHERE i.number = v_limit),
            jsonb_agg(jsonb_build_object(
                'item_id', i.product_id, 'quantity', i.on_hand,
                'reserved', i.reserved, 'available', i.available
            ) ORDER BY i.number) FILTER (WHERE i.number <= v_limit)
        INTO result_code, v_count, v_last, v_report
        FROM list_stock(p_store_id, NULL, p_at, COALESCE(p_after, ''), v_limit + 1)
        WITH ORDINALITY AS i (
            result_code, product_id, name, on_hand, reserved, available, number
        );
    END IF;
    result_code := CASE WHEN NOT v_is_page AND v_count > v_most THEN 'too_many_items'
        ELSE COALESCE(result_code, 'ok') END;
    document := CASE result_code
        WHEN 'too_many_items' THEN jsonb_build_object('most', v_most)
        WHEN 'ok' THEN jsonb_build_object('store', jsonb_build_object(
            'store_id', p_store_id, 'report', COALESCE(v_report, '[]'))) END;
    IF v_is_page THEN
        document := document || jsonb_build_object(
            'next', CASE WHEN v_count > v_limit THEN v_last END);
    END IF;
END $$;

COMMENT ON FUNCTION read_store IS
    'What a store has, as callers see it: {"store": {"store_id", "report": [{"item_id", '
    '"quantity", "reserved", "available"}]}}, of all items not at zero, by id; p_at: what it had '
    'then. With p_after or p_limit a page (of 100, where only p_after is given) and "next", the '
    'p_after of the page that follows, or null. Codes: ok, unknown_store, too_many_items.';
