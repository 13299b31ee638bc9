CREATE VIEW open_sessions AS
SELECT s.store_id, s.session_id, s.user_id, u.login, u.role, s.token_number, s.previous_until,
    s.has_totp, s.address, s.user_agent, s.signed_in_at, s.used_at, s.idle_limit, s.expires_at
FROM sessions AS s JOIN users AS u ON u.store_id = s.store_id AND u.user_id = s.user_id
WHERE s.ended_at IS NULL AND s.generation = u.token_generation AND u.is_active
    AND s.expires_at > clock_timestamp() AND s.used_at + s.idle_limit > clock_timestamp();

COMMENT ON VIEW open_sessions IS
    'Who is signed in now: not signed out, disabled, idle for too long or past the end.';
COMMENT ON COLUMN open_sessions.store_id IS 'The store of the user.';
COMMENT ON COLUMN open_sessions.session_id IS 'Which session: the claim sid of its tokens.';
COMMENT ON COLUMN open_sessions.user_id IS 'Who is signed in.';
COMMENT ON COLUMN open_sessions.login IS 'As what.';
COMMENT ON COLUMN open_sessions.role IS 'What the user may do now: customer, staff or admin.';
COMMENT ON COLUMN open_sessions.token_number IS 'Of the newest token, the claim num.';
COMMENT ON COLUMN open_sessions.previous_until IS
    'Until then the token before the newest is taken, too.';
COMMENT ON COLUMN open_sessions.has_totp IS 'Whether a one-time password was given, too.';
COMMENT ON COLUMN open_sessions.address IS 'Where the sign-in came from.';
COMMENT ON COLUMN open_sessions.user_agent IS 'What the client called itself.';
COMMENT ON COLUMN open_sessions.signed_in_at IS 'When the password was given.';
COMMENT ON COLUMN open_sessions.used_at IS 'When it was used last, to a sixtieth of idle_limit.';
COMMENT ON COLUMN open_sessions.idle_limit IS 'Unused for so long it is over.';
COMMENT ON COLUMN open_sessions.expires_at IS 'Then it is over, however much it is used.';
