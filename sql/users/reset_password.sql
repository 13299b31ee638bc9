CREATE OR REPLACE FUNCTION reset_password(
    p_store_id text, p_token_hash bytea, p_new_hash text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_link user_links;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_link := lock_link(p_store_id, p_token_hash, 'reset');
    v_now := clock_timestamp();

    -- Check.
    result_code := CASE
        WHEN v_link.user_id IS NULL OR v_link.used_at IS NOT NULL THEN 'unknown_link'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE user_links SET used_at = v_now
    WHERE store_id = p_store_id AND token_hash = p_token_hash;
    PERFORM set_password(p_store_id, v_link.user_id, p_new_hash, 'user:' || v_link.user_id);
END $$;

COMMENT ON FUNCTION reset_password IS
    'Set a new password by a one-time link; it activates nobody. Codes: ok, unknown_link.';
