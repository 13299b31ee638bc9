CREATE OR REPLACE FUNCTION guard_reservations() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- correct_reservation() may. The sweeper says of what has expired who closed it, and an order
    -- takes an expired hold anew.
    IF TG_OP = 'UPDATE' AND (
        (current_setting('holdfast.reason', true), current_setting('holdfast.reference', true))
            = ('adjustment', OLD.reservation_id)
        OR OLD.status = 'expired' AND (OLD.kind = 'order' OR OLD.closed_by IS NULL
            AND (OLD.status, OLD.price, OLD.expires_at, OLD.closed_at)
                IS NOT DISTINCT FROM (NEW.status, NEW.price, NEW.expires_at, NEW.closed_at))
    ) THEN RETURN NEW; END IF;
    RAISE EXCEPTION '% of reservation % is refused: %', TG_OP, OLD.reservation_id,
        CASE WHEN OLD.status = 'held' THEN 'what was promised never changes'
            ELSE 'it is ' || OLD.status END
        USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'commit_reservation() and release_reservation() resolve what is held, '
            'correct_reservation() puts right what is resolved.';
END $$;

COMMENT ON FUNCTION guard_reservations IS
    'Trigger: stop a change of what is promised, or of what is resolved (SQLSTATE 55000). An '
    'order''s hold changes with its order until it is committed or released.';

-- Verbs set other columns, and pay nothing here.
CREATE OR REPLACE TRIGGER lines_never_change
    BEFORE UPDATE OF store_id, reservation_id, line, kind, product_id, quantity, requested_at,
        lifetime, created_at, made_by ON reservations
    FOR EACH ROW WHEN (OLD.kind <> 'order' OR OLD.status IN ('committed', 'released'))
    EXECUTE FUNCTION guard_reservations();
COMMENT ON TRIGGER lines_never_change ON reservations IS
    'A promise is resolved, never edited: functions read lines before they lock.';

CREATE OR REPLACE TRIGGER closed_stay_closed
    BEFORE UPDATE OF status, price, expires_at, extended_by, closed_at, closed_by ON reservations
    FOR EACH ROW WHEN (OLD.status <> 'held') EXECUTE FUNCTION guard_reservations();
COMMENT ON TRIGGER closed_stay_closed ON reservations IS
    'A reservation is resolved once; correct_reservation() puts mistakes right, and says so.';

CREATE OR REPLACE TRIGGER lines_stay
    BEFORE DELETE ON reservations
    FOR EACH ROW WHEN (OLD.kind <> 'order' OR OLD.status IN ('committed', 'released'))
    EXECUTE FUNCTION guard_reservations();
COMMENT ON TRIGGER lines_stay ON reservations IS
    'What was promised stays known; only an open order takes lines away.';
