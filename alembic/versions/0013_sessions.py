"""Sessions, one-time passwords and e-mails of users; scopes of keys; sign-ins on record."""

from service.database.migrate import revert_script, run_script

revision = "0013"
down_revision = "0012"

# What only the owner's commands call keeps its name with its new signature: the old function goes
# before sql/ makes the new one.
UPGRADE = """
DROP FUNCTION IF EXISTS create_user(text, text, text, text, boolean, text);
DROP FUNCTION IF EXISTS create_first_admin(text, text, text);
DROP FUNCTION IF EXISTS create_api_key(text, text, bytea, text);

ALTER TABLE users ADD COLUMN email text;
ALTER TABLE users ADD CONSTRAINT users_email_check
    CHECK (email LIKE '_%@_%' AND length(email) <= 254);
COMMENT ON COLUMN users.email IS 'Where the user is written to; null: nowhere.';
COMMENT ON COLUMN users.token_generation IS
    'Sessions of an earlier generation are over: it rises at logout, a change of password, and '
    'whenever the user is disabled.';

CREATE TABLE sessions (
    store_id text COLLATE "C" NOT NULL,
    session_id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    generation int NOT NULL,
    token_number int NOT NULL DEFAULT 1,
    previous_until timestamptz,
    has_totp boolean NOT NULL,
    address text NOT NULL,
    user_agent text NOT NULL,
    signed_in_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    idle_limit interval NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (store_id, session_id),
    FOREIGN KEY (store_id, user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX sessions_by_user ON sessions (store_id, user_id, session_id);
CREATE INDEX sessions_by_use ON sessions (store_id, used_at);
COMMENT ON TABLE sessions IS
    'Who is signed in, from where: each has one token that is taken, and for 30 seconds the one '
    'before. The view open_sessions leaves out those that are over.';
COMMENT ON COLUMN sessions.store_id IS 'The store of the user.';
COMMENT ON COLUMN sessions.session_id IS 'Made here; the claim sid of its tokens.';
COMMENT ON COLUMN sessions.user_id IS 'Who signed in.';
COMMENT ON COLUMN sessions.generation IS
    'The user''s token_generation then: the session is over when that rises.';
COMMENT ON COLUMN sessions.token_number IS
    'Of the newest token, the claim num; each refresh adds one.';
COMMENT ON COLUMN sessions.previous_until IS
    'Until then the token before the newest is taken, too, in case the answer to a refresh was '
    'lost; null: there was none.';
COMMENT ON COLUMN sessions.has_totp IS 'Whether a one-time password was given, too.';
COMMENT ON COLUMN sessions.address IS 'Where the sign-in came from; of IPv6 the /64 network.';
COMMENT ON COLUMN sessions.user_agent IS 'What the client called itself, at most 200 characters.';
COMMENT ON COLUMN sessions.signed_in_at IS 'When the password was given.';
COMMENT ON COLUMN sessions.used_at IS 'When it was used last, to a sixtieth of idle_limit.';
COMMENT ON COLUMN sessions.idle_limit IS 'Unused for so long it is over.';
COMMENT ON COLUMN sessions.expires_at IS 'Then it is over, however much it is used.';
COMMENT ON COLUMN sessions.ended_at IS 'When the user ended it; null: not yet.';

CREATE TABLE user_totp (
    store_id text COLLATE "C" NOT NULL,
    user_id bigint NOT NULL,
    secret text NOT NULL CHECK (secret ~ '^[A-Z2-7]{32,}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at timestamptz,
    last_step bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (store_id, user_id),
    FOREIGN KEY (store_id, user_id) REFERENCES users ON DELETE CASCADE
);
COMMENT ON TABLE user_totp IS
    'Who signs in with a one-time password of an authenticator, too (TOTP, RFC 6238).';
COMMENT ON COLUMN user_totp.store_id IS 'The store of the user.';
COMMENT ON COLUMN user_totp.user_id IS 'Whose it is.';
COMMENT ON COLUMN user_totp.secret IS
    'What the authenticator was given, in base32: who reads it can make the codes.';
COMMENT ON COLUMN user_totp.created_at IS 'When the secret was made.';
COMMENT ON COLUMN user_totp.confirmed_at IS
    'From then on signing in needs a code; null: the user has not shown one yet.';
COMMENT ON COLUMN user_totp.last_step IS
    'The 30 seconds (counted from 1970) whose code was taken last: no code is taken twice.';

CREATE INDEX user_links_unused ON user_links (store_id, expires_at) WHERE used_at IS NULL;

ALTER TABLE sign_in_attempts ADD COLUMN is_recorded boolean NOT NULL DEFAULT false;
COMMENT ON TABLE sign_in_attempts IS
    'How often passwords were tried and users registered of late, so that nobody can guess by '
    'force or fill the tables.';
COMMENT ON COLUMN sign_in_attempts.subject IS
    'What is counted, whether there is such a user or not: "address 192.0.2.1", "login maria", '
    '"login maria at 192.0.2.1", "code maria", "registration 192.0.2.1".';
COMMENT ON COLUMN sign_in_attempts.is_recorded IS
    'Whether audit_log has the refusal of a sign-in: it gets one row in each window.';

ALTER TABLE api_keys ADD COLUMN scopes text[] NOT NULL
    DEFAULT ARRAY['reserve', 'stock', 'orders', 'bookings'];
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check CHECK (
    cardinality(scopes) > 0
    AND scopes <@ ARRAY['reserve', 'stock', 'orders', 'bookings', 'admin']
);
ALTER TABLE api_keys ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN api_keys.scopes IS
    'What it may do: reserve, stock, orders, bookings, admin. Without choice all but admin.';
COMMENT ON COLUMN api_keys.expires_at IS 'From then on it opens nothing; null: no end is set.';

ALTER TABLE audit_log DROP CONSTRAINT audit_log_action_check;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_action_check CHECK (
    action IN ('insert', 'update', 'delete', 'sign_in', 'sign_in_refused', 'sign_out')
) NOT VALID;
ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_action_check;
COMMENT ON TABLE audit_log IS
    'Who changed users, keys, products and prices, also by hand, and who signed in and out: '
    'append-only. Units of stock have a ledger of their own: stock_movements.';
COMMENT ON COLUMN audit_log.subject IS
    'What it is about: the row that changed, as table/id (users/17), or logins/maria where a '
    'sign-in named nobody.';
COMMENT ON COLUMN audit_log.details IS
    'Each column that changed, as {"from", "to"}; of a secret only that it changed. Of a sign-in '
    'the login and the address.';
"""

# The rows of sign-ins stay: going back a release is no reason to forget who signed in.
DOWNGRADE = """
ALTER TABLE audit_log DROP CONSTRAINT audit_log_action_check;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_action_check
    CHECK (action IN ('insert', 'update', 'delete')) NOT VALID;
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM audit_log WHERE action NOT IN ('insert', 'update', 'delete')
    ) THEN
        ALTER TABLE audit_log VALIDATE CONSTRAINT audit_log_action_check;
    END IF;
END $$;
COMMENT ON TABLE audit_log IS
    'Who changed users, keys, products and prices, also by hand: append-only, written by '
    'triggers. Units of stock have a ledger of their own: stock_movements.';
COMMENT ON COLUMN audit_log.subject IS 'The row that changed, as table/id: users/17.';
COMMENT ON COLUMN audit_log.details IS
    'Each column that changed, as {"from", "to"}; of a secret only that it changed.';
ALTER TABLE api_keys DROP COLUMN expires_at;
ALTER TABLE api_keys DROP COLUMN scopes;
ALTER TABLE sign_in_attempts DROP COLUMN is_recorded;
COMMENT ON TABLE sign_in_attempts IS
    'How often passwords were tried of late, so that nobody can guess them by force.';
COMMENT ON COLUMN sign_in_attempts.subject IS
    'What is counted: "address 192.0.2.1" or "login maria", whether there is such a user or not.';
DROP INDEX user_links_unused;
DROP TABLE user_totp;
DROP TABLE sessions;
ALTER TABLE users DROP COLUMN email;
COMMENT ON COLUMN users.token_generation IS
    'Tokens of an earlier generation are no longer taken: it rises at logout, a change of '
    'password, and whenever the user is disabled.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
