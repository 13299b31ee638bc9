CREATE OR REPLACE FUNCTION lock_link(p_store_id text, p_token_hash bytea, p_purpose text)
RETURNS user_links
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_link user_links;
BEGIN
    -- The user first, then the link: as whoever disables a user and voids the links.
    PERFORM FROM users AS u JOIN user_links AS l
        ON l.store_id = u.store_id AND l.user_id = u.user_id
    WHERE l.store_id = p_store_id AND l.token_hash = p_token_hash
    FOR UPDATE OF u;
    SELECT * INTO v_link FROM user_links
    WHERE store_id = p_store_id AND token_hash = p_token_hash AND purpose = p_purpose
        AND (used_at IS NOT NULL OR expires_at > clock_timestamp())
    FOR UPDATE;
    RETURN v_link;
END $$;

COMMENT ON FUNCTION lock_link IS
    'Lock a one-time link and its user; null where there is no such link, or it has lapsed unused.';
