CREATE OR REPLACE FUNCTION create_reset_link(
    p_store_id text, p_user_id bigint, p_token_hash bytea, p_lifetime interval, p_actor text,
    OUT result_code text, OUT valid_until timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock.
    PERFORM FROM users WHERE store_id = p_store_id AND user_id = p_user_id FOR UPDATE;

    -- Check.
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unknown_user' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Only the newest link is good.
    DELETE FROM user_links
    WHERE store_id = p_store_id AND user_id = p_user_id AND purpose = 'reset' AND used_at IS NULL;
    PERFORM set_change_context(p_actor);
    INSERT INTO user_links (store_id, token_hash, user_id, purpose, expires_at)
    VALUES (p_store_id, p_token_hash, p_user_id, 'reset', clock_timestamp() + p_lifetime)
    RETURNING expires_at INTO valid_until;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION create_reset_link IS
    'Remember a link by which a user may set a new password, once, instead of any before. '
    'Codes: ok, unknown_user.';
