CREATE OR REPLACE FUNCTION add_hold_documents(
    p_store_id text, p_reservation_ids text[], p_requested_at timestamptz[],
    p_result_codes text[], p_documents jsonb[]
) RETURNS jsonb[] LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT array_agg(COALESCE(d.document, n.document) ORDER BY n.number)
        FROM unnest(p_reservation_ids, p_requested_at, p_result_codes, p_documents)
            WITH ORDINALITY AS n (id, requested_at, code, document, number)
        LEFT JOIN reservation_documents(p_store_id, p_reservation_ids) AS d
            ON d.id = n.id AND n.requested_at IS NULL AND n.code IN ('ok', 'already_reserved')
    );
END $$;

COMMENT ON FUNCTION add_hold_documents IS
    'The documents of a batch''s answers, of every granted hold all of it among them.';
