CREATE OR REPLACE FUNCTION guard_booking_rules() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM NEW.changed_at AT TIME ZONE (NEW.rules ->> 'time_zone');
    RETURN NEW;
END $$;

COMMENT ON FUNCTION guard_booking_rules IS
    'Trigger: a time zone that PostgreSQL does not know is refused (SQLSTATE 22023), by whoever.';

CREATE OR REPLACE TRIGGER zone_is_known BEFORE INSERT OR UPDATE ON booking_rules
    FOR EACH ROW EXECUTE FUNCTION guard_booking_rules();
COMMENT ON TRIGGER zone_is_known ON booking_rules IS 'Or no booking could be judged.';
