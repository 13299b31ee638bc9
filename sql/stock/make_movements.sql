CREATE OR REPLACE FUNCTION make_movements(p_store_id text, p_movements jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[];
    v_deltas bigint[];
BEGIN
    SELECT array_agg(m.product_id), array_agg(m.delta) INTO v_products, v_deltas
    FROM (
        SELECT t.product_id, sum(t.delta)::bigint AS delta
        FROM jsonb_to_recordset(p_movements) AS t (product_id text, delta bigint)
        GROUP BY t.product_id
    ) AS m;
    PERFORM set_config('holdfast.bulk', 'on', true),
        set_config('holdfast.movements', p_movements::text, true);
    UPDATE stock AS s SET on_hand = s.on_hand + m.delta
    FROM unnest(v_products, v_deltas) AS m (product_id, delta)
    WHERE s.store_id = p_store_id AND s.product_id = m.product_id;
    PERFORM set_config('holdfast.bulk', '', true), set_config('holdfast.movements', '', true);
END $$;

COMMENT ON FUNCTION make_movements IS
    'Change stock that the caller has locked by many movements in one statement: a JSON array of '
    'product_id, delta, reason, reference and actor. Each has its row in the ledger, in this '
    'order, also where they cancel out; see record_movements().';
