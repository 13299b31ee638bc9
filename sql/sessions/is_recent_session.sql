CREATE OR REPLACE FUNCTION is_recent_session(
    p_store_id text, p_user_id bigint, p_session_id bigint
) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM open_sessions
        WHERE store_id = p_store_id AND user_id = p_user_id AND session_id = p_session_id
            AND signed_in_at > clock_timestamp() - interval '15 minutes'
    );
END $$;

COMMENT ON FUNCTION is_recent_session IS
    'Whether a session''s password was given within 15 minutes: what changes how a user signs in '
    'needs that, so that a token alone, which somebody found, does not keep its owner out.';
