"""Users of a store: who can sign in, and as what."""

from service.database.migrate import revert_script, run_script

revision = "0002"
down_revision = "0001"

UPGRADE = """
CREATE TABLE users (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    user_id bigint GENERATED ALWAYS AS IDENTITY,
    login text COLLATE "C" NOT NULL CHECK (login ~ '^[!-~]{1,64}$'),
    password_hash text NOT NULL,
    role text NOT NULL DEFAULT 'customer' CHECK (role IN ('customer', 'staff', 'admin')),
    is_active boolean NOT NULL DEFAULT false,
    token_generation int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, user_id)
);
-- Nobody shall pass for another by the size of a letter.
CREATE UNIQUE INDEX users_by_login ON users (store_id, lower(login));
COMMENT ON TABLE users IS 'People who sign in to a store: customers, its staff, its admins.';
COMMENT ON COLUMN users.store_id IS 'The store that knows them.';
COMMENT ON COLUMN users.user_id IS 'Made here.';
COMMENT ON COLUMN users.login IS
    '1-64 visible ASCII characters, unique in the store whatever the case of its letters.';
COMMENT ON COLUMN users.password_hash IS 'argon2id (RFC 9106), in its encoded form.';
COMMENT ON COLUMN users.role IS 'What the user may do: customer, staff or admin.';
COMMENT ON COLUMN users.is_active IS
    'True once the activation link was followed; an admin may take it back.';
COMMENT ON COLUMN users.token_generation IS
    'Tokens of an earlier generation are no longer taken: it rises at logout, a change of '
    'password, and whenever the user is disabled.';
COMMENT ON COLUMN users.created_at IS 'When the user registered.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script("DROP TABLE users;")
