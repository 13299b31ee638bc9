CREATE OR REPLACE FUNCTION drop_lapsed_registrations(
    p_store_id text, p_login text, p_limit int
) RETURNS int
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_ids bigint[];
BEGIN
    -- Lock, without waiting for who pays in or follows a link; then look again.
    v_ids := ARRAY(
        SELECT user_id FROM lapsed_registrations
        WHERE store_id = p_store_id AND (p_login IS NULL OR lower(login) = lower(p_login))
        ORDER BY expires_at LIMIT p_limit
    );
    v_ids := ARRAY(
        SELECT user_id FROM users WHERE store_id = p_store_id AND user_id = ANY (v_ids)
        ORDER BY user_id FOR UPDATE SKIP LOCKED
    );
    v_ids := ARRAY(
        SELECT user_id FROM lapsed_registrations
        WHERE store_id = p_store_id AND user_id = ANY (v_ids)
    );

    -- Write.
    DELETE FROM users WHERE store_id = p_store_id AND user_id = ANY (v_ids);
    RETURN cardinality(v_ids);
END $$;

COMMENT ON FUNCTION drop_lapsed_registrations IS
    'Remove up to p_limit of lapsed_registrations, or the one with a login; how many it were.';
