CREATE OR REPLACE FUNCTION recount_reserved(
    p_store_id text, p_product_id text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_stock stock;
    v_held bigint;
BEGIN
    -- Lock.
    PERFORM lock_stock(p_store_id, ARRAY[p_product_id]);

    -- Check.
    SELECT * INTO v_stock FROM stock WHERE store_id = p_store_id AND product_id = p_product_id;
    SELECT COALESCE(sum(r.quantity), 0)::bigint INTO v_held FROM reservations AS r
    WHERE r.store_id = p_store_id AND r.product_id = p_product_id AND r.status = 'held';
    result_code := CASE
        WHEN COALESCE(p_actor, '') = '' THEN 'invalid_request'
        WHEN v_stock.on_hand IS NULL THEN 'unknown_product'
        WHEN v_held > v_stock.on_hand THEN 'insufficient_stock'
        ELSE 'ok' END;
    document := jsonb_build_object('product_id', p_product_id, 'quantity', v_held,
        'available', v_stock.on_hand, 'reserved', v_stock.reserved);
    IF result_code <> 'ok' OR v_held = v_stock.reserved THEN RETURN; END IF;

    -- Write.
    UPDATE stock SET reserved = v_held
    WHERE store_id = p_store_id AND product_id = p_product_id;
    INSERT INTO audit_log (store_id, subject, action, details, actor)
    VALUES (p_store_id, 'stock/' || p_product_id, 'update', jsonb_build_object('reserved',
        jsonb_build_object('from', v_stock.reserved, 'to', v_held)), p_actor);
END $$;

COMMENT ON FUNCTION recount_reserved IS
    'Set stock.reserved of a product to what its held lines sum up to, where somebody has changed '
    'it by hand (invariant reserved_equals_open_holds); audit_log says who. For the owner; it '
    'reads all reservations. The document holds the sum as quantity, and what was there. Codes: '
    'ok, insufficient_stock (more is held than is on hand), unknown_product, invalid_request.';
