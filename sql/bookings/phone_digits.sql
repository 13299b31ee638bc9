CREATE OR REPLACE FUNCTION phone_digits(p_phone text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT CASE WHEN strpos(p_phone, '@') = 0 THEN
        NULLIF(regexp_replace(regexp_replace(p_phone, '[^0-9]', '', 'g'), '^00', ''), '') END
$$;

COMMENT ON FUNCTION phone_digits IS
    'A phone number as guests.phone_digits has it: +44 20 7946, 0044 (20) 79-46 and 44207946 are '
    'one; null for what has no digits, or is an e-mail address.';
