CREATE OR REPLACE FUNCTION guard_orders() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'Order % is %: % is refused', OLD.order_id, OLD.status, TG_OP USING
        ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'refund_order() gives money back; what was is kept.';
END $$;

COMMENT ON FUNCTION guard_orders IS
    'Trigger: an order that is paid or cancelled stays as it ended, but for its refunds (SQLSTATE '
    '55000).';

CREATE OR REPLACE TRIGGER ended_stays_as_it_is
    BEFORE UPDATE OF store_id, order_id, number, client_id, user_id, status, total, paid_from,
        account_id, reference, created_at, paid_at, closed_at, made_by, closed_by ON orders
    FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL) EXECUTE FUNCTION guard_orders();
COMMENT ON TRIGGER ended_stays_as_it_is ON orders IS 'Whose it was, what it cost, who paid.';

CREATE OR REPLACE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON orders
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
        'orders', 'Cancel it: cancel_order() gives back what it holds.');
COMMENT ON TRIGGER append_only ON orders IS 'Orders end; they are never deleted.';

CREATE OR REPLACE TRIGGER record_change AFTER UPDATE ON orders
    FOR EACH ROW WHEN (COALESCE(current_setting('holdfast.reason', true), '') = '')
    EXECUTE FUNCTION record_change('orders', 'order_id');
COMMENT ON TRIGGER record_change ON orders IS 'What was done to it by hand.';

-- Functions say why they write. By hand, a line would part from its hold, its total, its payment.
CREATE OR REPLACE TRIGGER written_by_functions
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON order_lines
    FOR EACH STATEMENT WHEN (COALESCE(current_setting('holdfast.reason', true), '') = '')
    EXECUTE FUNCTION refuse_change(
        'order_lines', 'add_to_order(), set_order_line() and refund_order() change lines.');
COMMENT ON TRIGGER written_by_functions ON order_lines IS
    'What a line says is held, counted in the total, or paid.';

CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON order_refunds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('order_refunds');
COMMENT ON TRIGGER append_only ON order_refunds IS 'What was given back stays known.';

CREATE OR REPLACE TRIGGER written_by_functions BEFORE INSERT ON order_refunds
    FOR EACH STATEMENT WHEN (COALESCE(current_setting('holdfast.reason', true), '') = '')
    EXECUTE FUNCTION refuse_change('order_refunds', 'refund_order() gives money back.');
COMMENT ON TRIGGER written_by_functions ON order_refunds IS 'A refund moves money and units, too.';

CREATE OR REPLACE TRIGGER written_by_functions
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON product_sales
    FOR EACH STATEMENT WHEN (COALESCE(current_setting('holdfast.reason', true), '') = '')
    EXECUTE FUNCTION refuse_change('product_sales', 'pay_order() and refund_order() count.');
COMMENT ON TRIGGER written_by_functions ON product_sales IS 'It says what orders say.';
