CREATE OR REPLACE FUNCTION buy_products(
    p_store_id text, p_user_ids bigint[], p_product_ids text[], p_account_ids bigint[],
    p_quantities bigint[], OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- As for reserve_stock_batch: one plan, which looks rows up by their key.
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_answer record;
    v_taken bigint;
    v_taken_of jsonb := jsonb_build_object();
    v_events jsonb[];
    v_movements jsonb[];
BEGIN
    -- Lock. Stock first, then the accounts: the house's one order.
    PERFORM lock_stock(p_store_id, p_product_ids);
    PERFORM FROM (
        SELECT DISTINCT w.account_id, w.user_id
        FROM unnest(p_account_ids, p_user_ids) AS w (account_id, user_id) ORDER BY 1
    ) AS n
    CROSS JOIN LATERAL (
        SELECT FROM accounts AS a
        WHERE a.store_id = p_store_id AND a.account_id = n.account_id
            AND a.user_id = n.user_id FOR UPDATE
    ) AS a;

    -- One after another, on what the earlier ones leave.
    FOR i IN 1 .. COALESCE(cardinality(p_user_ids), 0) LOOP
        v_taken := COALESCE((v_taken_of ->> p_product_ids[i])::bigint, 0);
        SELECT b.* INTO v_answer
        FROM buy_locked(p_store_id, p_user_ids[i], p_product_ids[i], p_account_ids[i],
            p_quantities[i], v_taken) AS b;
        result_codes[i] := v_answer.result_code;
        documents[i] := v_answer.document - 'user_id';
        CONTINUE WHEN v_answer.result_code <> 'ok';
        v_taken_of := v_taken_of
            || jsonb_build_object(p_product_ids[i], v_taken + p_quantities[i]);
        v_events := v_events || (v_answer.document - 'balance');
        v_movements := v_movements || jsonb_build_object(
            'product_id', p_product_ids[i], 'delta', -p_quantities[i], 'reason', 'purchase',
            'reference', v_answer.document ->> 'purchase_id',
            'actor', 'user:' || p_user_ids[i]);
    END LOOP;
    IF v_movements IS NULL THEN RETURN; END IF;

    -- Write. The units leave with the money, and their ledger names the purchase, too.
    PERFORM set_change_context(NULL);
    PERFORM make_movements(p_store_id, to_jsonb(v_movements));
    PERFORM emit_events(p_store_id, 'purchase.made', v_events);
END $$;

COMMENT ON FUNCTION buy_products IS
    'buy_product() for many purchases of one store in one transaction, each answered by its own '
    'code, in arrival order, as if they had come one by one: what they share is the way to the '
    'database, the locks and the commit. Codes: ok, insufficient_stock, insufficient_funds, '
    'not_for_sale, unknown_product, unknown_account, unknown_store, invalid_request.';
