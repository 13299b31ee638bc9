CREATE OR REPLACE FUNCTION list_products(
    p_store_id text, p_search text, p_with_inactive boolean, p_after text, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    v_most CONSTANT int := 10000;
    v_after text := COALESCE(p_after, '');
    v_pattern text := '%' || regexp_replace(p_search, '([\\%_])', '\\\1', 'g') || '%';
    -- In a database of the locale C only ASCII has capitals: these are told apart by hand.
    v_knows_all CONSTANT boolean := lower('Я') = 'я' OR p_search ~ '^[\x01-\x7f]*$';
    v_upper CONSTANT text := CASE WHEN v_knows_all THEN '' ELSE
        'АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁЂЃЄЅІЇЈЉЊЋЌЎЏҐҒҚҢӨҮҰҺ'
        'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĄĆČĎĘĚĞİŁŃŇŐŘŚŞŠŤŮŰŹŻŽ'
        'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΆΈΉΊΌΎΏ' END;
    v_lower CONSTANT text := CASE WHEN v_knows_all THEN '' ELSE
        'абвгдежзийклмнопрстуфхцчшщъыьэюяёђѓєѕіїјљњћќўџґғқңөүұһ'
        'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþąćčďęěğiłńňőřśşšťůűźżž'
        'αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ' END;
    v_folded CONSTANT text := translate(v_pattern, v_upper, v_lower);
    v_ids text[];
    v_next text;
    v_found text[];
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    -- Product by product, up to a limit (10 ms): as good as any index where many match. The
    -- switches leave the planner the key's order alone: while it had no statistics it read and
    -- sorted the store's 60,000 products for the first hundred, 65 ms for 1.
    v_ids := ARRAY(
        SELECT w.product_id FROM (
            SELECT p.product_id, p.name, p.is_active FROM products AS p
            WHERE p.store_id = p_store_id AND p.product_id > v_after
            ORDER BY p.product_id LIMIT v_most
        ) AS w
        WHERE (w.is_active OR p_with_inactive)
            AND (v_pattern IS NULL OR w.name ILIKE v_pattern
                OR w.product_id COLLATE "default" ILIKE v_pattern
                OR (NOT v_knows_all AND (
                    translate(w.product_id, v_upper, v_lower) ILIKE v_folded
                    OR translate(w.name, v_upper, v_lower) ILIKE v_folded)))
        ORDER BY w.product_id LIMIT p_limit
    );
    IF cardinality(v_ids) < p_limit THEN
        SELECT p.product_id INTO v_next FROM products AS p
        WHERE p.store_id = p_store_id AND p.product_id > v_after
        ORDER BY p.product_id OFFSET v_most - 1 LIMIT 1;
    END IF;
    IF v_next IS NOT NULL AND v_knows_all THEN
        v_found := find_products(p_store_id, v_pattern, p_with_inactive, v_after, p_limit, v_most);
        v_next := CASE WHEN v_found IS NULL THEN v_next END;
    END IF;

    result_code := 'ok';
    v_ids := COALESCE(v_found, v_ids);
    document := jsonb_build_object(
        'products', describe_products(p_store_id, v_ids),
        'next', COALESCE(v_ids[p_limit], v_next));
END $$;

COMMENT ON FUNCTION list_products IS
    'Products of a store by id, at most p_limit after p_after, with p_search in name or id '
    'whatever the case of its letters; those not offered any more only with p_with_inactive. next '
    'is the p_after of the page that follows, or null. A page may have fewer products than p_limit '
    'or none, and a next all the same: no call looks at more than 10,000. Codes: ok, '
    'unknown_store.';
