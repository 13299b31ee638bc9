CREATE OR REPLACE FUNCTION register_customer(
    p_store_id text, p_login text, p_password_hash text, p_email text, p_token_hash bytea,
    p_lifetime interval, p_address text, p_most_a_day int, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_wait int;
BEGIN
    -- Check. Zero: the address has no limit.
    IF p_most_a_day > 0 AND EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        SELECT c.retry_after INTO v_wait FROM count_try(
            p_store_id, 'registration ' || p_address, p_most_a_day, interval '1 day') AS c;
    END IF;
    IF v_wait > 0 THEN
        result_code := 'too_many_requests';
        document := jsonb_build_object('retry_after', v_wait);
        RETURN;
    END IF;

    -- Write.
    SELECT u.result_code, u.document INTO result_code, document
    FROM create_user(
        p_store_id, p_login, p_password_hash, 'customer', false, p_email, p_actor) AS u;
    IF result_code <> 'created' THEN RETURN; END IF;
    INSERT INTO user_links (store_id, token_hash, user_id, purpose, expires_at)
    VALUES (
        p_store_id, p_token_hash, (document ->> 'user_id')::bigint, 'activation',
        clock_timestamp() + p_lifetime
    );
END $$;

COMMENT ON FUNCTION register_customer IS
    'Create a customer, who cannot sign in before the link was followed whose token has this '
    'SHA-256 hash; an address may so often a day. Codes: created, login_taken, unknown_store, '
    'invalid_request, too_many_requests.';
