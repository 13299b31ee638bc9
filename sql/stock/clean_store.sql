CREATE OR REPLACE FUNCTION clean_store(
    p_store_id text, p_reference text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    -- 100,000 took 6.7 s on busy cores, more than a call is given.
    v_most CONSTANT int := 50000;
    v_products text[] := ARRAY(
        SELECT product_id FROM stock
        WHERE store_id = p_store_id AND on_hand > 0 LIMIT v_most + 1
    );
BEGIN
    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN cardinality(v_products) > v_most THEN 'too_many_at_once'
        ELSE 'ok' END;
    document := CASE result_code
        WHEN 'too_many_at_once' THEN jsonb_build_object('most', v_most) END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Lock.
    PERFORM lock_stock(p_store_id, v_products);

    -- Write.
    PERFORM set_change_context(p_actor, 'write_off', p_reference),
        set_config('holdfast.bulk', 'on', true);
    UPDATE stock SET on_hand = reserved
    WHERE store_id = p_store_id AND product_id = ANY (v_products) AND on_hand > reserved;
    PERFORM set_change_context(NULL), set_config('holdfast.bulk', '', true);

    -- What remains may be more than one document holds.
    SELECT r.document INTO document FROM read_store(p_store_id, NULL, '', most_items()) AS r;
    IF document -> 'next' = 'null' THEN document := document - 'next'; END IF;
END $$;

COMMENT ON FUNCTION clean_store IS
    'Write off all that is not reserved. The document is the report of what remains, with "next" '
    'where that is more than it may hold. Codes: ok, too_many_at_once, unknown_store.';
