CREATE VIEW webhook_violations AS
SELECT 'delivery_has_a_target' AS invariant, o.store_id, o.message_id::text AS subject,
    'a hook ' || o.target AS expected, 'none' AS found
FROM outbox AS o
LEFT JOIN hooks AS h ON h.store_id = o.store_id AND h.hook_id::text = o.target
WHERE o.channel = 'webhook' AND o.target <> '' AND o.is_waiting AND h.hook_id IS NULL;

COMMENT ON VIEW webhook_violations IS 'What of invariant_violations is about webhooks.';
COMMENT ON COLUMN webhook_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN webhook_violations.store_id IS 'In which store.';
COMMENT ON COLUMN webhook_violations.subject IS 'On which message.';
COMMENT ON COLUMN webhook_violations.expected IS 'What should be there.';
COMMENT ON COLUMN webhook_violations.found IS 'What is there instead.';
