CREATE OR REPLACE FUNCTION record_event(
    p_store_id text, p_subject text, p_action text, p_details jsonb, p_actor text
) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    INSERT INTO audit_log (store_id, subject, action, details, actor)
    VALUES (p_store_id, p_subject, p_action, p_details, COALESCE(p_actor, session_user));
END $$;

COMMENT ON FUNCTION record_event IS
    'Write an audit row of what changes no row that a trigger watches, such as a sign-in; without '
    'an actor it is the session''s login.';
