CREATE OR REPLACE FUNCTION guard_bookings() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'Booking % has ended: % is refused', OLD.booking_id, TG_OP USING
        ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'What was is kept: make another booking.';
END $$;

COMMENT ON FUNCTION guard_bookings IS
    'Trigger: an ended booking stays as it ended, whoever wants to change it (SQLSTATE 55000).';

CREATE OR REPLACE TRIGGER ended_stays_as_it_is BEFORE UPDATE ON bookings
    FOR EACH ROW WHEN (OLD.closed_at IS NOT NULL) EXECUTE FUNCTION guard_bookings();
COMMENT ON TRIGGER ended_stays_as_it_is ON bookings IS 'Times and outcome of what was are kept.';

CREATE OR REPLACE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON bookings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
        'bookings', 'Bookings end, they are never deleted: cancel it instead.');
COMMENT ON TRIGGER append_only ON bookings IS 'Bookings end; they are never deleted.';

CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON dining_tables
    FOR EACH ROW EXECUTE FUNCTION record_change('dining_tables', 'table_id');
COMMENT ON TRIGGER record_change ON dining_tables IS 'Who added, changed, closed a table.';

CREATE OR REPLACE TRIGGER record_change AFTER INSERT OR UPDATE OR DELETE ON booking_rules
    FOR EACH ROW EXECUTE FUNCTION record_change('booking_rules', 'store_id');
COMMENT ON TRIGGER record_change ON booking_rules IS 'Who changed the house rules.';

CREATE OR REPLACE TRIGGER record_change AFTER UPDATE ON bookings
    FOR EACH ROW EXECUTE FUNCTION record_change('bookings', 'booking_id');
COMMENT ON TRIGGER record_change ON bookings IS 'Who confirmed, moved, cancelled what.';
