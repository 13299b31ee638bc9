"""Signing in: one-time links, counted attempts, API keys; and the log of who changed what."""

from service.database.migrate import revert_script, run_script

revision = "0007"
down_revision = "0006"

UPGRADE = """
CREATE TABLE user_links (
    store_id text COLLATE "C" NOT NULL,
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    user_id bigint NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('activation', 'reset')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (store_id, token_hash),
    FOREIGN KEY (store_id, user_id) REFERENCES users ON DELETE CASCADE
);
CREATE INDEX user_links_by_user ON user_links (store_id, user_id);
COMMENT ON TABLE user_links IS 'One-time links that were given to users.';
COMMENT ON COLUMN user_links.store_id IS 'The store of the user.';
COMMENT ON COLUMN user_links.token_hash IS
    'SHA-256 of the token in the link: who reads this table cannot follow it.';
COMMENT ON COLUMN user_links.user_id IS 'Whose link it is.';
COMMENT ON COLUMN user_links.purpose IS
    'activation: of a new user; reset: sets a new password, made by an admin.';
COMMENT ON COLUMN user_links.created_at IS 'When it was made.';
COMMENT ON COLUMN user_links.expires_at IS 'From then on it leads nowhere.';
COMMENT ON COLUMN user_links.used_at IS 'When it was followed, once; null: not yet.';

CREATE TABLE sign_in_attempts (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    subject text COLLATE "C" NOT NULL,
    attempts int NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (store_id, subject)
);
CREATE INDEX sign_in_attempts_by_end ON sign_in_attempts (store_id, ends_at);
COMMENT ON TABLE sign_in_attempts IS
    'How often passwords were tried of late, so that nobody can guess them by force.';
COMMENT ON COLUMN sign_in_attempts.store_id IS 'The store.';
COMMENT ON COLUMN sign_in_attempts.subject IS
    'What is counted: "address 192.0.2.1" or "login maria", whether there is such a user or not.';
COMMENT ON COLUMN sign_in_attempts.attempts IS 'Tries without success until ends_at.';
COMMENT ON COLUMN sign_in_attempts.ends_at IS 'Then counting begins anew, and the row may go.';

CREATE TABLE api_keys (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    key_id bigint GENERATED ALWAYS AS IDENTITY,
    key_hash bytea NOT NULL CHECK (length(key_hash) = 32),
    name text NOT NULL CHECK (name <> ''),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (store_id, key_id),
    UNIQUE (store_id, key_hash)
);
COMMENT ON TABLE api_keys IS 'Keys by which other systems call for a store, as role "service".';
COMMENT ON COLUMN api_keys.store_id IS 'The only store it opens.';
COMMENT ON COLUMN api_keys.key_id IS 'Made here; names the key in ledgers and logs: key:3.';
COMMENT ON COLUMN api_keys.key_hash IS
    'SHA-256 of the key, which was shown once and is kept nowhere.';
COMMENT ON COLUMN api_keys.name IS 'What people call it: the system that uses it.';
COMMENT ON COLUMN api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN api_keys.last_used_at IS
    'When it was used last, to the minute; null: never.';
COMMENT ON COLUMN api_keys.revoked_at IS 'From then on it opens nothing; null: it is good.';

CREATE TABLE audit_log (
    store_id text COLLATE "C" NOT NULL,
    entry_id bigint GENERATED ALWAYS AS IDENTITY,
    subject text NOT NULL,
    action text NOT NULL CHECK (action IN ('insert', 'update', 'delete')),
    details jsonb NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, entry_id)
);
CREATE INDEX audit_log_by_subject ON audit_log (store_id, subject, entry_id);
COMMENT ON TABLE audit_log IS
    'Who changed users, keys, products and prices, also by hand: append-only, written by '
    'triggers. Units of stock have a ledger of their own: stock_movements.';
COMMENT ON COLUMN audit_log.store_id IS 'The store.';
COMMENT ON COLUMN audit_log.entry_id IS 'Made here; grows with time.';
COMMENT ON COLUMN audit_log.subject IS 'The row that changed, as table/id: users/17.';
COMMENT ON COLUMN audit_log.action IS 'What happened to it.';
COMMENT ON COLUMN audit_log.details IS
    'Each column that changed, as {"from", "to"}; of a secret only that it changed.';
COMMENT ON COLUMN audit_log.actor IS
    'Who did it: a caller''s name told by the function, else the session''s login.';
COMMENT ON COLUMN audit_log.created_at IS 'When, by the database''s clock.';
"""

DOWNGRADE = """
DROP TABLE audit_log;
DROP TABLE api_keys;
DROP TABLE sign_in_attempts;
DROP TABLE user_links;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
