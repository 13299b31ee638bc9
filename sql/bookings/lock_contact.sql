CREATE OR REPLACE FUNCTION lock_contact(p_store_id text, p_contact jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- In the order of the keys, so that two who share two contacts do not deadlock.
    PERFORM pg_advisory_xact_lock(k.key) FROM (
        SELECT DISTINCT hashtextextended(
            format('contact:%s:%s', p_store_id, CASE c.key
                WHEN 'phone' THEN phone_digits(c.value) ELSE lower(c.value) END), 0) AS key
        FROM jsonb_each_text(p_contact) AS c
        WHERE c.key IN ('email', 'phone', 'user_id') AND c.value IS NOT NULL
        ORDER BY 1
    ) AS k;
END $$;

COMMENT ON FUNCTION lock_contact IS
    'One request of a guest after another, so that the limit of pending ones counts them all: by '
    'email, phone and user_id.';
