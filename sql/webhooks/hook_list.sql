CREATE VIEW hook_list AS
SELECT store_id, hook_id, url, events, is_active, failing_since, off_at, off_reason,
    old_secret_until, created_at
FROM hooks;

COMMENT ON VIEW hook_list IS 'The targets of webhooks, without their secrets.';
COMMENT ON COLUMN hook_list.store_id IS 'The store.';
COMMENT ON COLUMN hook_list.hook_id IS 'Names the target.';
COMMENT ON COLUMN hook_list.url IS 'Where events are posted to.';
COMMENT ON COLUMN hook_list.events IS 'The types of events it is told of; null: all.';
COMMENT ON COLUMN hook_list.is_active IS 'Whether it is told of events.';
COMMENT ON COLUMN hook_list.failing_since IS 'When the failures began; null: all is well.';
COMMENT ON COLUMN hook_list.off_at IS 'When it was switched off; null: it is not.';
COMMENT ON COLUMN hook_list.off_reason IS 'staff, gone (it answered 410) or failing.';
COMMENT ON COLUMN hook_list.old_secret_until IS 'When the secret before ends; null: there is none.';
COMMENT ON COLUMN hook_list.created_at IS 'When it was made.';
