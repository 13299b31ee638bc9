CREATE VIEW user_list AS
SELECT store_id, user_id, login, role, is_active, created_at FROM users;

COMMENT ON VIEW user_list IS 'The users, without what would help to sign in as one.';
COMMENT ON COLUMN user_list.store_id IS 'The store that knows them.';
COMMENT ON COLUMN user_list.user_id IS 'Names the user in ledgers and logs: user:17.';
COMMENT ON COLUMN user_list.login IS 'What the user signs in as.';
COMMENT ON COLUMN user_list.role IS 'What the user may do: customer, staff or admin.';
COMMENT ON COLUMN user_list.is_active IS 'False: not activated yet, or disabled.';
COMMENT ON COLUMN user_list.created_at IS 'When the user registered.';
