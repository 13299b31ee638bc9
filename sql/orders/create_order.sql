CREATE OR REPLACE FUNCTION create_order(
    p_store_id text, p_order_id text, p_client_name text, p_client_address text,
    p_user_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order record;
    v_client_id bigint;
BEGIN
    -- Check. A twin that is not committed yet is met at the primary key, and found the next time.
    SELECT o.order_id, o.user_id, c.name, c.address INTO v_order
    FROM orders AS o
    JOIN clients AS c ON c.store_id = o.store_id AND c.client_id = o.client_id
    WHERE o.store_id = p_store_id AND o.order_id = p_order_id;
    result_code := CASE
        WHEN num_nulls(p_order_id, p_client_name, p_client_address) > 0 THEN 'invalid_request'
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_order.order_id IS NULL THEN 'created'
        WHEN (v_order.name, v_order.address, v_order.user_id)
            IS NOT DISTINCT FROM (p_client_name, p_client_address, p_user_id) THEN 'already_exists'
        ELSE 'order_id_reused' END;
    IF result_code NOT IN ('created', 'already_exists') THEN RETURN; END IF;

    -- Write.
    IF result_code = 'created' THEN
        INSERT INTO clients (store_id, name, address)
        VALUES (p_store_id, p_client_name, p_client_address)
        ON CONFLICT (store_id, name, address) DO NOTHING;
        SELECT client_id INTO v_client_id FROM clients
        WHERE store_id = p_store_id AND name = p_client_name AND address = p_client_address;
        INSERT INTO orders (store_id, order_id, client_id, user_id, made_by)
        VALUES (p_store_id, p_order_id, v_client_id, p_user_id, COALESCE(p_actor, session_user));
    END IF;
    document := order_document(p_store_id, p_order_id);
END $$;

COMMENT ON FUNCTION create_order IS
    'Make an empty order for a client, who is found again by exact name and address. p_user_id: '
    'the customer whose it is; null: nobody''s. Codes: created, already_exists (for the same '
    'client), order_id_reused (for another), unknown_store, invalid_request.';
