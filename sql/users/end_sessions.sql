CREATE OR REPLACE FUNCTION end_sessions(
    p_store_id text, p_user_id bigint, p_actor text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_change_context(p_actor);
    UPDATE users SET token_generation = token_generation + 1
    WHERE store_id = p_store_id AND user_id = p_user_id;
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unknown_user' END;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION end_sessions IS
    'No token that a user has by now is taken any more. Codes: ok, unknown_user.';
