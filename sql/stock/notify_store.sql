CREATE OR REPLACE FUNCTION notify_store(p_store_id text, p_product_ids text[]) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_store text := to_json(p_store_id)::text;
    v_payload text;
BEGIN
    -- pg_notify raises from 8000 bytes on; 2000 ids, quoted, would reach that whatever they are.
    IF cardinality(p_product_ids) < 2000 THEN
        SELECT concat('[', v_store, ',', string_agg(to_json(i.product_id)::text, ','), ']')
        INTO v_payload FROM unnest(p_product_ids) AS i (product_id);
    END IF;
    PERFORM pg_notify('holdfast.stock', CASE
        WHEN octet_length(v_payload) <= 7900 THEN v_payload
        ELSE concat('[', v_store, ']') END);
END $$;

COMMENT ON FUNCTION notify_store IS
    'Wake the live feed, on channel holdfast.stock, once the transaction has committed: a JSON '
    'array of the store and the products that changed, or of the store alone when they are many.';
