CREATE OR REPLACE FUNCTION reserve_stock_batch(
    p_store_id text, p_reservation_ids text[], p_actors text[],
    p_requested_at timestamptz[], p_ttls interval[], p_max_lifetime interval,
    p_line_requests int[], p_product_ids text[], p_quantities bigint[],
    OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- One plan for every batch, made once: for each batch anew took twice as long. Its joins look rows
-- up by their key, which the planner would not do while no statistics tell it to.
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
BEGIN
    IF p_line_requests IS NULL AND cardinality(p_product_ids) = cardinality(p_reservation_ids) THEN
        BEGIN
            SELECT r.result_codes, r.documents INTO result_codes, documents
            FROM reserve_at_once(p_store_id, p_reservation_ids, p_actors, p_requested_at, p_ttls,
                p_max_lifetime, p_product_ids, p_quantities) AS r;
        EXCEPTION WHEN unique_violation OR SQLSTATE 'HF001' THEN
            result_codes := NULL;  -- all is as it was before, and nothing is locked
        END;
    END IF;

    IF result_codes IS NULL THEN
        SELECT r.result_codes, r.documents INTO result_codes, documents
        FROM reserve_in_order(p_store_id, p_reservation_ids, p_actors, p_requested_at, p_ttls,
            p_max_lifetime, COALESCE(p_line_requests,
                ARRAY(SELECT generate_series(1, cardinality(p_product_ids)))),
            p_product_ids, p_quantities) AS r;
    END IF;

    -- Whoever made a hold hears all of it in this one call.
    IF p_requested_at IS NULL OR array_position(p_requested_at, NULL) IS NOT NULL THEN
        documents := add_hold_documents(
            p_store_id, p_reservation_ids, p_requested_at, result_codes, documents);
    END IF;
END $$;

COMMENT ON FUNCTION reserve_stock_batch IS
    'Reserve stock for many requests of one store in one transaction, each answered by its own '
    'code, in arrival order, as if they had come one by one. Arrays: per request its id, who asks '
    '(null: the session''s login), the caller''s timestamp (null: a hold, not a callback) and its '
    'lifetime (null: for ever; at most p_max_lifetime unless that is null); per line the number of '
    'its request from 1 (null: line n is request n), product and quantity (1 to 2147483647). At '
    'most 100 lines a request, all or nothing. Codes: ok, already_reserved, reservation_closed, '
    'reservation_id_reused (an id of another content, kind or lifetime), insufficient_stock, '
    'unknown_product, unknown_store, lifetime_too_long, invalid_request. documents: of a granted '
    'hold all of it; of what is short or unknown product_id, quantity and available, for a hold '
    'also "lines", all that are in the way.';
