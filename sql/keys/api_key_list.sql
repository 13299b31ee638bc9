CREATE VIEW api_key_list AS
SELECT store_id, key_id, name, scopes, created_at, last_used_at, expires_at, revoked_at
FROM api_keys;

COMMENT ON VIEW api_key_list IS 'The API keys, without their hashes.';
COMMENT ON COLUMN api_key_list.store_id IS 'The only store it opens.';
COMMENT ON COLUMN api_key_list.key_id IS 'Names the key in ledgers and logs: key:3.';
COMMENT ON COLUMN api_key_list.name IS 'What people call it: the system that uses it.';
COMMENT ON COLUMN api_key_list.scopes IS
    'What it may do: reserve, stock, orders, bookings, admin.';
COMMENT ON COLUMN api_key_list.created_at IS 'When it was made.';
COMMENT ON COLUMN api_key_list.last_used_at IS 'When it was used last, to the minute; null: never.';
COMMENT ON COLUMN api_key_list.expires_at IS 'From then on it opens nothing; null: no end is set.';
COMMENT ON COLUMN api_key_list.revoked_at IS 'From then on it opens nothing; null: it is good.';
