CREATE OR REPLACE FUNCTION idempotency_period() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT interval '30 days'
$$;

COMMENT ON FUNCTION idempotency_period IS 'How long an answer is kept under its Idempotency-Key.';
