CREATE OR REPLACE FUNCTION set_password(
    p_store_id text, p_user_id bigint, p_new_hash text, p_actor text
) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    DELETE FROM user_links
    WHERE store_id = p_store_id AND user_id = p_user_id AND purpose = 'reset' AND used_at IS NULL;
    PERFORM set_change_context(p_actor);
    UPDATE users SET password_hash = p_new_hash, token_generation = token_generation + 1
    WHERE store_id = p_store_id AND user_id = p_user_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION set_password IS
    'Give a user, whom the caller has locked, another password: tokens and links that were made '
    'for the old one are void.';
