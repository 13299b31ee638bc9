CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_ARGV[0] USING
        ERRCODE = 'object_not_in_prerequisite_state',
        HINT = COALESCE(
            TG_ARGV[1], 'History is append-only: write the opposite change instead.');
END $$;

COMMENT ON FUNCTION refuse_change IS
    'Trigger: stop a statement that would rewrite what has happened (SQLSTATE 55000). Its '
    'arguments: the table''s name (on a distributed engine TG_TABLE_NAME is that of a shard), and '
    'what to do instead.';

CREATE OR REPLACE TRIGGER append_only
    BEFORE UPDATE OF store_id, movement_id, product_id, delta, on_hand_after, reason, reference,
        actor, created_at, number OR DELETE OR TRUNCATE ON stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('stock_movements');
COMMENT ON TRIGGER append_only ON stock_movements IS
    'The ledger is only ever added to; its rows get their position when they are committed.';

CREATE OR REPLACE TRIGGER written_by_triggers BEFORE INSERT ON stock_movements
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION refuse_change('stock_movements');
COMMENT ON TRIGGER written_by_triggers ON stock_movements IS
    'What has not happened to stock is not in its ledger: nobody writes rows by hand.';

CREATE OR REPLACE TRIGGER append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON account_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('account_entries');
COMMENT ON TRIGGER append_only ON account_entries IS 'The ledger is only ever added to.';

CREATE OR REPLACE TRIGGER written_by_triggers BEFORE INSERT ON account_entries
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_change(
        'account_entries', 'Change the balance of the account: that writes the entry.');
COMMENT ON TRIGGER written_by_triggers ON account_entries IS
    'What has not happened to a balance is not in its ledger: nobody writes rows by hand.';

CREATE OR REPLACE TRIGGER keeps_its_owner
    BEFORE UPDATE OF store_id, account_id, user_id, bill_id, entry_count ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
        'accounts', 'Only the balance changes: move money by two changes, each has its entry.');
COMMENT ON TRIGGER keeps_its_owner ON accounts IS
    'Its ledger would stay with the other user, and a payment come twice by the other bill.';

CREATE OR REPLACE TRIGGER append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON purchases
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('purchases');
COMMENT ON TRIGGER append_only ON purchases IS 'What was bought is given back by another row.';

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('audit_log');
COMMENT ON TRIGGER append_only ON audit_log IS 'The log is only ever added to.';

CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON reservations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('reservations');
COMMENT ON TRIGGER no_truncate ON reservations IS 'TRUNCATE would pass stock and ledger by.';

CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON stock
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('stock');
COMMENT ON TRIGGER no_truncate ON stock IS 'TRUNCATE would pass the ledger by.';

CREATE OR REPLACE TRIGGER keeps_its_product BEFORE UPDATE OF store_id, product_id ON stock
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('stock');
COMMENT ON TRIGGER keeps_its_product ON stock IS 'Its ledger would stay with the other product.';
