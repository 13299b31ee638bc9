CREATE OR REPLACE FUNCTION reservation_status(
    p_store_id text, p_reservation_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    SELECT r.result_code, r.document INTO result_code, document
    FROM read_reservation(p_store_id, p_reservation_id) AS r;
    IF jsonb_array_length(document -> 'lines') > 1 THEN
        result_code := 'several_lines';
        document := NULL;
        RETURN;
    END IF;
    document := (document - 'lines' - 'kind') || (document #> '{lines,0}');
END $$;

COMMENT ON FUNCTION reservation_status IS
    'What became of a reservation of one line. Codes: ok, unknown_reservation, unknown_store, '
    'several_lines (a reservation of more than one line). A hold past its time reads expired.';
