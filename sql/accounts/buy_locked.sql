CREATE OR REPLACE FUNCTION buy_locked(
    p_store_id text, p_user_id bigint, p_product_id text, p_account_id bigint, p_quantity bigint,
    p_taken bigint, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_price bigint;
    v_available bigint;
    v_balance bigint;
    v_total numeric;
    v_purchase purchases;
BEGIN
    -- Check.
    SELECT p.price, s.on_hand - s.reserved - p_taken INTO v_price, v_available
    FROM products AS p JOIN stock AS s USING (store_id, product_id)
    WHERE p.store_id = p_store_id AND p.product_id = p_product_id AND p.is_active;
    SELECT balance INTO v_balance FROM accounts
    WHERE store_id = p_store_id AND account_id = p_account_id AND user_id = p_user_id;
    v_total := v_price::numeric * p_quantity;
    result_code := CASE
        WHEN NOT COALESCE(p_quantity BETWEEN 1 AND 2147483647, false) THEN 'invalid_request'
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_available IS NULL THEN 'unknown_product'
        WHEN v_price IS NULL THEN 'not_for_sale'
        WHEN v_balance IS NULL THEN 'unknown_account'
        WHEN v_available < p_quantity THEN 'insufficient_stock'
        WHEN v_balance < v_total THEN 'insufficient_funds'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN
        document := CASE result_code
            WHEN 'insufficient_stock' THEN jsonb_build_object('available', v_available)
            WHEN 'insufficient_funds' THEN jsonb_build_object(
                'total', v_total, 'balance', v_balance) END;
        RETURN;
    END IF;

    -- Write. The ledger of the money names the purchase.
    INSERT INTO purchases AS p
        (store_id, user_id, account_id, product_id, quantity, price_at_purchase)
    VALUES (p_store_id, p_user_id, p_account_id, p_product_id, p_quantity, v_price)
    RETURNING p.* INTO v_purchase;
    PERFORM set_change_context(
        'user:' || p_user_id, 'purchase', v_purchase.purchase_id::text);
    UPDATE accounts SET balance = balance - v_total
    WHERE store_id = p_store_id AND account_id = p_account_id;
    document := to_jsonb(v_purchase) - 'store_id' || jsonb_build_object(
        'total', v_total, 'balance', v_balance - v_total,
        'created_at', rfc3339(v_purchase.created_at));
END $$;

COMMENT ON FUNCTION buy_locked IS
    'buy_product() for a caller that holds the locks, and takes p_quantity of the product from '
    'stock itself after this; p_taken: what it is going to take for others. document: also '
    'user_id.';
