CREATE OR REPLACE FUNCTION record_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_reason text := COALESCE(NULLIF(current_setting('holdfast.reason', true), ''), 'adjustment');
    v_reference text := NULLIF(current_setting('holdfast.reference', true), '');
    v_last_at timestamptz;
BEGIN
    SELECT e.created_at INTO v_last_at FROM account_entries AS e
    WHERE e.store_id = NEW.store_id AND e.account_id = NEW.account_id
        AND e.number = NEW.entry_count - 1;

    -- OLD is null on INSERT.
    INSERT INTO account_entries (
        store_id, account_id, user_id, number, amount, balance_after, reason, transaction_id,
        reference, actor, created_at
    ) VALUES (
        NEW.store_id, NEW.account_id, NEW.user_id, NEW.entry_count,
        NEW.balance - COALESCE(OLD.balance, 0), NEW.balance,
        v_reason, CASE WHEN v_reason = 'payment' THEN v_reference END,
        CASE WHEN v_reason <> 'payment' THEN v_reference END,
        COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user),
        GREATEST(clock_timestamp(), v_last_at)
    );
    RETURN NULL;
END $$;

COMMENT ON FUNCTION record_entry IS
    'Trigger: write the ledger row of every change of a balance, whoever makes it. Functions say '
    'who, why and for what through set_change_context(), of a payment its transaction_id; where '
    'nobody does, it is an adjustment by the session''s login.';

CREATE OR REPLACE TRIGGER record_first_entry AFTER INSERT ON accounts
    FOR EACH ROW WHEN (NEW.balance <> 0) EXECUTE FUNCTION record_entry();
COMMENT ON TRIGGER record_first_entry ON accounts IS 'The ledger starts with the first money.';

CREATE OR REPLACE TRIGGER record_entry AFTER UPDATE OF balance ON accounts
    FOR EACH ROW WHEN (OLD.balance <> NEW.balance) EXECUTE FUNCTION record_entry();
COMMENT ON TRIGGER record_entry ON accounts IS
    'No trigger on DELETE: an account with a history cannot be deleted.';
