CREATE VIEW hook_deliveries AS
SELECT store_id, target AS hook_id, message_id AS delivery_id,
    payload ->> 'id' AS event_id, payload ->> 'type' AS event_type,
    CASE WHEN is_waiting THEN 'waiting'
        WHEN delivered_at IS NOT NULL THEN 'delivered'
        WHEN skipped_at IS NOT NULL THEN 'skipped'
        ELSE 'failed' END AS status,
    attempts, reply_code, last_error, created_at,
    CASE WHEN is_waiting THEN due_at END AS due_at,
    COALESCE(delivered_at, skipped_at, dead_at) AS ended_at
FROM outbox WHERE channel = 'webhook' AND target <> '';

COMMENT ON VIEW hook_deliveries IS
    'What was told to the targets of webhooks, or is to be told, without the contents.';
COMMENT ON COLUMN hook_deliveries.store_id IS 'The store.';
COMMENT ON COLUMN hook_deliveries.hook_id IS 'The target in "hooks", as text.';
COMMENT ON COLUMN hook_deliveries.delivery_id IS 'The message in "outbox".';
COMMENT ON COLUMN hook_deliveries.event_id IS 'webhook-id, the same for each target and try.';
COMMENT ON COLUMN hook_deliveries.event_type IS 'One of event_types().';
COMMENT ON COLUMN hook_deliveries.status IS
    'waiting, delivered, skipped (the target was off or removed) or failed (given up).';
COMMENT ON COLUMN hook_deliveries.attempts IS 'How often it was tried.';
COMMENT ON COLUMN hook_deliveries.reply_code IS 'The HTTP status of the last answer.';
COMMENT ON COLUMN hook_deliveries.last_error IS 'Why the last failed attempt failed.';
COMMENT ON COLUMN hook_deliveries.created_at IS 'When the event was handed to the target.';
COMMENT ON COLUMN hook_deliveries.due_at IS 'When it is tried next; null: never.';
COMMENT ON COLUMN hook_deliveries.ended_at IS 'When it was delivered, skipped or given up.';
