CREATE OR REPLACE FUNCTION anonymise_guests(
    p_store_id text, p_age interval, p_limit int, OUT result_code text, OUT erased_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_ids bigint[];
BEGIN
    -- Lock. By id, as whoever forgets one; who is being forgotten now needs no waiting for.
    v_ids := ARRAY(
        SELECT g.guest_id
        FROM guests AS g
        JOIN bookings AS b ON b.store_id = g.store_id AND b.guest_id = g.guest_id
        WHERE g.store_id = p_store_id AND g.erased_at IS NULL AND b.store_id = p_store_id
            AND LEAST(b.closed_at, b.ends_at) < v_now - p_age
        ORDER BY g.guest_id LIMIT p_limit FOR UPDATE OF g SKIP LOCKED
    );

    -- Write.
    UPDATE guests
    SET name = NULL, email = NULL, phone = NULL, language = NULL, erased_at = v_now
    WHERE store_id = p_store_id AND guest_id = ANY (v_ids);
    erased_count := cardinality(v_ids);
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION anonymise_guests IS
    'Erase the guests of up to p_limit bookings that ended longer than p_age ago. Codes: ok.';
