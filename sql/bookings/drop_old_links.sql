CREATE OR REPLACE FUNCTION drop_old_links(
    p_store_id text, p_age interval, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_age;
    v_hashes bytea[] := ARRAY(
        SELECT l.token_hash FROM booking_links AS l
        JOIN bookings AS b ON b.store_id = l.store_id AND b.booking_id = l.booking_id
        WHERE l.store_id = p_store_id AND b.store_id = p_store_id
            AND l.created_at < v_before AND LEAST(b.closed_at, b.ends_at) < v_before
        LIMIT p_limit FOR UPDATE OF l SKIP LOCKED
    );
BEGIN
    DELETE FROM booking_links WHERE store_id = p_store_id AND token_hash = ANY (v_hashes);
    document := jsonb_build_object('done', cardinality(v_hashes));
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION drop_old_links IS
    'Bookkeeping: remove up to p_limit links of bookings that ended longer than p_age ago; until '
    'then each says that its booking is over. document: how many were done. Code: ok.';
