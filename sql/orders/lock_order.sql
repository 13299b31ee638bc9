CREATE OR REPLACE FUNCTION lock_order(p_store_id text, p_order_id text, p_user_id bigint)
RETURNS orders LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order orders;
BEGIN
    SELECT * INTO v_order FROM orders
    WHERE store_id = p_store_id AND order_id = p_order_id
        AND (p_user_id IS NULL OR user_id = p_user_id) FOR UPDATE;
    RETURN v_order;
END $$;

COMMENT ON FUNCTION lock_order IS
    'Lock an order, which comes before all else: only who has it may change its lines and its '
    'hold. Null where there is none. p_user_id: only this user''s own; null: anybody''s.';
