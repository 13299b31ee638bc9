CREATE OR REPLACE FUNCTION activate_user(
    p_store_id text, p_token_hash bytea, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_link user_links;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_link := lock_link(p_store_id, p_token_hash, 'activation');
    v_now := clock_timestamp();

    -- Check. A link that was followed is good for nothing but the same answer.
    result_code := CASE
        WHEN v_link.user_id IS NULL THEN 'unknown_link'
        WHEN v_link.used_at IS NOT NULL THEN 'already_activated'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE user_links SET used_at = v_now
    WHERE store_id = p_store_id AND token_hash = p_token_hash;
    PERFORM set_change_context('user:' || v_link.user_id);
    UPDATE users SET is_active = true
    WHERE store_id = p_store_id AND user_id = v_link.user_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION activate_user IS
    'Let a new user sign in, once: a user who was disabled since stays so. Codes: ok, '
    'already_activated, unknown_link.';
