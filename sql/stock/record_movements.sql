CREATE OR REPLACE FUNCTION record_movements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- Callers may have switched it off for themselves: 500 movements of 500 products in a nested loop
-- are 250,000 comparisons.
SET enable_hashjoin = on AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_told jsonb := NULLIF(current_setting('holdfast.movements', true), '')::jsonb;
    v_reason text := COALESCE(NULLIF(current_setting('holdfast.reason', true), ''), 'adjustment');
    v_reference text := NULLIF(current_setting('holdfast.reference', true), '');
    v_actor text := COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user);
    v_stores text[];
    v_products text[];
    v_before bigint[];
    v_deltas bigint[];
BEGIN
    -- Before and after side by side; grouping them stays linear where a join would not.
    SELECT array_agg(c.store_id), array_agg(c.product_id), array_agg(c.before), array_agg(c.delta)
    INTO v_stores, v_products, v_before, v_deltas
    FROM (
        SELECT s.store_id, s.product_id, max(s.before) AS before, sum(s.delta)::bigint AS delta
        FROM (
            SELECT store_id, product_id, on_hand AS before, -on_hand AS delta FROM old_stock
            UNION ALL SELECT store_id, product_id, NULL, on_hand FROM new_stock
        ) AS s
        GROUP BY s.store_id, s.product_id HAVING v_told IS NOT NULL OR sum(s.delta) <> 0
        ORDER BY s.store_id, s.product_id
    ) AS c;

    IF v_told IS NOT NULL AND EXISTS (
        SELECT FROM unnest(v_products, v_deltas) AS n (product_id, delta)
        FULL JOIN (
            SELECT t.product_id, sum(t.delta) AS delta
            FROM jsonb_to_recordset(v_told) AS t (product_id text, delta bigint)
            GROUP BY t.product_id
        ) AS t USING (product_id)
        WHERE n.delta IS DISTINCT FROM t.delta
    ) THEN
        RAISE EXCEPTION 'the movements told do not add up to the change of stock'
            USING ERRCODE = 'serialization_failure';
    END IF;

    -- What was told in particular is a row each, all else one row a product.
    INSERT INTO stock_movements (
        store_id, product_id, number, delta, on_hand_after, reason, reference, actor, created_at
    )
    SELECT n.store_id, n.product_id, COALESCE(l.number, 0) + COALESCE(t.place, 1),
        COALESCE(t.delta, n.delta), n.before + COALESCE(t.so_far, n.delta),
        COALESCE(t.reason, v_reason), COALESCE(t.reference, v_reference),
        COALESCE(t.actor, v_actor), GREATEST(v_now, l.created_at)
    FROM unnest(v_stores, v_products, v_before, v_deltas)
        AS n (store_id, product_id, before, delta)
    LEFT JOIN (
        SELECT m.*, row_number() OVER w AS place, sum(m.delta) OVER w AS so_far
        FROM ROWS FROM (jsonb_to_recordset(v_told) AS (
            product_id text, delta bigint, reason text, reference text, actor text
        )) WITH ORDINALITY AS m
        WINDOW w AS (PARTITION BY m.product_id ORDER BY m.ordinality)
    ) AS t USING (product_id)
    LEFT JOIN LATERAL (
        SELECT m.number, m.created_at FROM stock_movements AS m
        WHERE m.store_id = n.store_id AND m.product_id = n.product_id
        ORDER BY m.number DESC LIMIT 1
    ) AS l ON true;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION record_movements IS
    'Trigger: record_movement() for all rows of a statement at once, a third of the work. For '
    'functions that change many and say so with the setting holdfast.bulk. Where the setting '
    'holdfast.movements, a JSON array of product_id, delta, reason, reference and actor, tells '
    'what a change consists of, each of them is a row; what does not add up is refused.';

CREATE OR REPLACE TRIGGER record_movements AFTER UPDATE ON stock
    REFERENCING OLD TABLE AS old_stock NEW TABLE AS new_stock
    FOR EACH STATEMENT WHEN (current_setting('holdfast.bulk', true) = 'on')
    EXECUTE FUNCTION record_movements();
COMMENT ON TRIGGER record_movements ON stock IS 'Instead of record_movement, row by row.';
