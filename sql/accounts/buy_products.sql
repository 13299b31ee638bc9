CREATE OR REPLACE FUNCTION buy_products(
    p_store_id text, p_user_ids bigint[], p_product_ids text[], p_account_ids bigint[],
    p_quantities bigint[], OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- As for reserve_stock_batch: one plan, which looks rows up by their key.
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_answer record;
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
        SELECT b.* INTO v_answer FROM buy_locked(
            p_store_id, p_user_ids[i], p_product_ids[i], p_account_ids[i], p_quantities[i]) AS b;
        result_codes[i] := v_answer.result_code;
        documents[i] := v_answer.document;
    END LOOP;
END $$;

COMMENT ON FUNCTION buy_products IS
    'buy_product() for many purchases of one store in one transaction, each answered by its own '
    'code, in arrival order, as if they had come one by one: what they share is the way to the '
    'database, the locks and the commit. Codes: as buy_product().';
