CREATE OR REPLACE FUNCTION import_stock(
    p_store_id text, p_add boolean, p_reference text,
    OUT result_code text, OUT created_count bigint, OUT line_count bigint,
    OUT problem_count bigint, OUT problems jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[] := ARRAY(SELECT product_id FROM import_lines WHERE product_id IS NOT NULL);
BEGIN
    -- Lock. Two imports of one store would create the same products in different order.
    PERFORM pg_advisory_xact_lock(hashtextextended('import_stock:' || p_store_id, 0));
    PERFORM lock_stock(p_store_id, v_products);

    -- Check.
    SELECT count(*), jsonb_agg(jsonb_build_array(
        p.line_number, regexp_replace(p.problem, '^(.{80}).+(.{80})$', '\1…\2')
    ) ORDER BY p.line_number) FILTER (WHERE p.position <= 100)
    INTO problem_count, problems
    FROM import_problems(p_store_id, p_add) WITH ORDINALITY AS p (line_number, problem, position);
    result_code := CASE WHEN problem_count = 0 THEN 'ok' ELSE 'invalid_lines' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM create_store(p_store_id);
    INSERT INTO products AS p (store_id, product_id, name, price)
    SELECT p_store_id, l.product_id, l.name, l.price::bigint FROM import_lines AS l
    WHERE NOT EXISTS (SELECT FROM products AS k
        WHERE k.store_id = p_store_id AND k.product_id = l.product_id COLLATE "C")
    ORDER BY l.product_id COLLATE "C";
    GET DIAGNOSTICS created_count = ROW_COUNT;

    UPDATE products AS p SET name = l.name, price = l.price::bigint FROM import_lines AS l
    WHERE p.store_id = p_store_id AND p.product_id = l.product_id COLLATE "C"
        AND (p.name, p.price) IS DISTINCT FROM (l.name, l.price::bigint);

    PERFORM set_change_context(NULL, 'import', p_reference);
    -- In order, so that neighbours share their pages in the ledger's indexes.
    UPDATE stock AS s
    SET on_hand = l.quantity::bigint + CASE WHEN p_add THEN s.on_hand ELSE 0 END
    FROM (SELECT * FROM import_lines ORDER BY product_id COLLATE "C") AS l
    WHERE s.store_id = p_store_id AND s.product_id = l.product_id COLLATE "C"
        AND l.quantity::bigint <> CASE WHEN p_add THEN 0 ELSE s.on_hand END;
    PERFORM set_change_context(NULL);
    line_count := (SELECT count(*) FROM import_lines);
END $$;

COMMENT ON FUNCTION import_stock IS
    'Set what is on hand (p_add: add to it) from the lines streamed into pg_temp.import_lines '
    '(line_number, product_id, name, quantity, price, problem), all or none, creating store and '
    'products where they are missing. For the owner. Codes: ok, invalid_lines: problems holds '
    'the first 100 as [line_number, problem], long ones without their middle.';
