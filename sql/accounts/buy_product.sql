CREATE OR REPLACE FUNCTION buy_product(
    p_store_id text, p_user_id bigint, p_product_id text, p_account_id bigint, p_quantity bigint,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT b.result_codes[1], b.documents[1] INTO result_code, document
    FROM buy_products(p_store_id, ARRAY[p_user_id], ARRAY[p_product_id], ARRAY[p_account_id],
        ARRAY[p_quantity]) AS b;
END $$;

COMMENT ON FUNCTION buy_product IS
    'A user buys units of a product that is offered, with the money of an account of theirs, in '
    'minor units: all of it or nothing. document: the purchase, its total and the balance left; '
    'of a refusal what there is, and what it would have cost. Codes: ok, insufficient_stock, '
    'insufficient_funds, not_for_sale (it has no price), unknown_product (also one not offered), '
    'unknown_account (also another user''s), unknown_store, invalid_request.';
