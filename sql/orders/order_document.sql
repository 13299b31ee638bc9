CREATE OR REPLACE FUNCTION order_document(p_store_id text, p_order_id text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (SELECT d.document FROM order_documents(p_store_id, ARRAY[p_order_id]) AS d);
END $$;

COMMENT ON FUNCTION order_document IS
    'An order with its lines, as callers see it; null where there is none.';
