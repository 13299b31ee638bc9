CREATE OR REPLACE FUNCTION order_lifetime(p_user_id bigint, p_hold_seconds int) RETURNS interval
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN make_interval(secs => CASE
        WHEN p_hold_seconds > 0 THEN p_hold_seconds
        WHEN p_hold_seconds IS NULL AND p_user_id IS NOT NULL THEN 1800 END);
END $$;

COMMENT ON FUNCTION order_lifetime IS
    'How long the hold of an order lives from now on; null: for good. p_hold_seconds is the '
    'setting, 0 for none ever. Where nothing is set, a customer''s own order lapses after half an '
    'hour, or anyone could hold all stock for nothing.';
