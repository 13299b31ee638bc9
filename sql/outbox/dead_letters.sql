CREATE VIEW dead_letters AS
SELECT store_id, message_id, channel, target, created_at, dead_at, attempts, reply_code, last_error
FROM outbox WHERE dead_at IS NOT NULL;

COMMENT ON VIEW dead_letters IS
    'Messages that were given up; revive_message has one tried again. Without the payloads, '
    'which may hold secrets.';
COMMENT ON COLUMN dead_letters.store_id IS 'The store.';
COMMENT ON COLUMN dead_letters.message_id IS 'The message in "outbox".';
COMMENT ON COLUMN dead_letters.channel IS 'How it was to be sent.';
COMMENT ON COLUMN dead_letters.target IS 'Whom to: of a webhook the hook''s id; else empty.';
COMMENT ON COLUMN dead_letters.created_at IS 'When it was written.';
COMMENT ON COLUMN dead_letters.dead_at IS 'When it was given up.';
COMMENT ON COLUMN dead_letters.attempts IS 'How often it was tried.';
COMMENT ON COLUMN dead_letters.reply_code IS 'What the other side said last, by HTTP or SMTP.';
COMMENT ON COLUMN dead_letters.last_error IS 'Why the last attempt failed.';
