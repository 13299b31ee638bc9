CREATE OR REPLACE FUNCTION check_product(p_store_id text, p_product_id text, p_fields jsonb)
RETURNS text LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_is_valid boolean := p_product_id IS NOT NULL AND jsonb_typeof(p_fields) = 'object';
    v_is_known boolean;
BEGIN
    -- A category that is named stays there until the caller's transaction ends.
    PERFORM FROM categories
    WHERE store_id = p_store_id AND category_id = p_fields ->> 'category_id' FOR KEY SHARE;
    v_is_known := FOUND OR p_fields ->> 'category_id' IS NULL;
    IF v_is_valid THEN
        SELECT COALESCE(bool_and(CASE
            WHEN f.key = 'name' THEN jsonb_typeof(f.value) = 'string'
            WHEN f.key IN ('price', 'low_at') THEN CASE
                WHEN f.value::text ~ '^[0-9]{1,19}$' THEN f.value::numeric <= 9223372036854775807
                ELSE f.value = 'null' END
            WHEN f.key = 'category_id' THEN jsonb_typeof(f.value) IN ('string', 'null')
            WHEN f.key = 'is_active' THEN jsonb_typeof(f.value) = 'boolean'
            ELSE false END), true)
        INTO v_is_valid FROM jsonb_each(p_fields) AS f;
    END IF;
    RETURN CASE
        WHEN v_is_valid IS NOT TRUE THEN 'invalid_request'
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_is_known THEN 'ok'
        ELSE 'unknown_category' END;
END $$;

COMMENT ON FUNCTION check_product IS
    'Whether what is said of a product can be stored: an object with any of name, price (of one '
    'unit, in minor units; null: not for sale), is_active, category_id (null: none) and low_at '
    '(webhooks are told at so many units; null: never). Codes: ok, unknown_category, '
    'unknown_store, invalid_request.';
