CREATE OR REPLACE FUNCTION reservation_document(p_store_id text, p_reservation_id text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (SELECT d.document FROM reservation_documents(p_store_id, ARRAY[p_reservation_id]) AS d);
END $$;

COMMENT ON FUNCTION reservation_document IS
    'A reservation with its lines, as callers see it; null where there is none.';
