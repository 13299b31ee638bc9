CREATE OR REPLACE FUNCTION begin_password_check(
    p_store_id text, p_user_id bigint, p_address text,
    OUT result_code text, OUT retry_after int, OUT known_user_id bigint, OUT known_hash text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT b.* INTO result_code, retry_after, known_user_id, known_hash
    FROM users AS u, begin_sign_in(p_store_id, u.login, p_address) AS b
    WHERE u.store_id = p_store_id AND u.user_id = p_user_id;
    result_code := COALESCE(result_code, 'unauthorized');
END $$;

COMMENT ON FUNCTION begin_password_check IS
    'As begin_sign_in, of a user who is signed in and tells the password again. Codes: as there, '
    'and unauthorized (there is no such user any more).';
