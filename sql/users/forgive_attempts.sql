CREATE OR REPLACE FUNCTION forgive_attempts(p_store_id text, p_login text, p_address text)
RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- In the order of begin_sign_in. An address gets its own try back and no more, or a guesser
    -- would need but one password that is right.
    UPDATE sign_in_attempts SET attempts = attempts - 1
    WHERE store_id = p_store_id AND subject = 'address ' || p_address AND attempts > 0;
    DELETE FROM sign_in_attempts
    WHERE store_id = p_store_id AND subject = 'login ' || lower(p_login);
END $$;

COMMENT ON FUNCTION forgive_attempts IS
    'The password was right: forget the tries of its login, and this one of the address.';
