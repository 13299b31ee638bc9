CREATE OR REPLACE FUNCTION make_reset_link(
    p_store_id text, p_user_id bigint, p_token_hash bytea, p_lifetime interval, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_expires_at timestamptz;
BEGIN
    -- Lock.
    PERFORM FROM users WHERE store_id = p_store_id AND user_id = p_user_id FOR UPDATE;

    -- Check.
    result_code := CASE WHEN FOUND THEN 'created' ELSE 'unknown_user' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write. Only the newest link is good.
    DELETE FROM user_links
    WHERE store_id = p_store_id AND user_id = p_user_id AND purpose = 'reset' AND used_at IS NULL;
    PERFORM set_change_context(p_actor);
    INSERT INTO user_links (store_id, token_hash, user_id, purpose, expires_at)
    VALUES (p_store_id, p_token_hash, p_user_id, 'reset', clock_timestamp() + p_lifetime)
    RETURNING expires_at INTO v_expires_at;
    PERFORM set_change_context(NULL);
    document := jsonb_build_object('user_id', p_user_id, 'expires_at', rfc3339(v_expires_at));
END $$;

COMMENT ON FUNCTION make_reset_link IS
    'Remember a link by which a user may set a new password, once, instead of any before. '
    'Codes: created, unknown_user.';
