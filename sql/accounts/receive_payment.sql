CREATE OR REPLACE FUNCTION receive_payment(
    p_store_id text, p_transaction_id text, p_user_id bigint, p_bill_id text, p_amount bigint,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_account accounts;
    v_paid record;
    v_entries bigint[];
BEGIN
    -- Lock. Where there is no account yet, twins meet at the unique keys, and the second is tried
    -- again.
    SELECT * INTO v_account FROM accounts
    WHERE store_id = p_store_id AND bill_id = p_bill_id FOR UPDATE;
    -- With its own account, which a twin may have made since the line above found none.
    SELECT a.user_id, a.bill_id, e.amount INTO v_paid
    FROM account_entries AS e JOIN accounts AS a USING (store_id, account_id)
    WHERE e.store_id = p_store_id AND e.transaction_id = p_transaction_id;

    -- Check. A user who may not sign in any more has paid all the same.
    result_code := CASE
        WHEN num_nulls(p_transaction_id, p_user_id, p_bill_id) > 0
            OR NOT COALESCE(p_amount > 0, false) THEN 'invalid_request'
        WHEN (v_paid.user_id, v_paid.bill_id, v_paid.amount)
            = (p_user_id, p_bill_id, p_amount) THEN 'already_paid'
        WHEN v_paid.amount IS NOT NULL THEN 'transaction_id_reused'
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN NOT EXISTS (
            SELECT FROM users WHERE store_id = p_store_id AND user_id = p_user_id
        ) THEN 'unknown_user'
        WHEN v_account.user_id <> p_user_id THEN 'bill_id_taken'
        WHEN v_account.balance > 9223372036854775807 - p_amount THEN 'balance_too_large'
        ELSE 'ok' END;

    -- Write.
    IF result_code = 'ok' THEN
        PERFORM set_change_context('payer:' || p_bill_id, 'payment', p_transaction_id);
        IF v_account.account_id IS NULL THEN
            INSERT INTO accounts (store_id, user_id, bill_id, balance)
            VALUES (p_store_id, p_user_id, p_bill_id, p_amount);
        ELSE
            UPDATE accounts SET balance = balance + p_amount
            WHERE store_id = p_store_id AND account_id = v_account.account_id;
        END IF;
        PERFORM set_change_context(NULL);
    END IF;
    IF result_code IN ('ok', 'already_paid') THEN
        v_entries := ARRAY(
            SELECT e.entry_id FROM account_entries AS e
            WHERE e.store_id = p_store_id AND e.transaction_id = p_transaction_id);
        document := describe_entries(p_store_id, v_entries) -> 0;
    END IF;
END $$;

COMMENT ON FUNCTION receive_payment IS
    'Credit what a user has paid (minor units) to the account of a bill, made where there is none, '
    'once per transaction_id, for ever. Codes: ok, already_paid, transaction_id_reused (for '
    'another user, bill or amount), bill_id_taken (the account is another user''s), '
    'balance_too_large, unknown_user, unknown_store, invalid_request.';
