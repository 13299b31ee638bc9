CREATE OR REPLACE FUNCTION find_products(
    p_store_id text, p_pattern text, p_with_inactive boolean, p_after text, p_limit int, p_most int
) RETURNS text[] LANGUAGE plpgsql STABLE
SET search_path = holdfast, pg_temp
SET enable_seqscan = off SET enable_indexscan = off SET enable_bitmapscan = on AS $$
DECLARE
    v_words text := regexp_replace(p_pattern, '[^[:alnum:]]+', ' ', 'g');
    v_parts text[] := ARRAY(
        SELECT '%' || substr(v_words, n, 3) || '%' FROM generate_series(1, length(v_words) - 2) AS n
        WHERE strpos(substr(v_words, n, 3), ' ') = 0 ORDER BY n
    );
    v_first text := v_parts[1];
    v_middle text := v_parts[(cardinality(v_parts) + 1) / 2];
    v_last text := v_parts[cardinality(v_parts)];
    v_count bigint;
    v_found text[];
BEGIN
    -- By products_by_trigrams and three parts of the pattern, each of them one trigram: then nearly
    -- all that the index gives is true, and the LIMIT stops what would be too much. With the whole
    -- pattern as one condition, what has its trigrams in another order is only found out row by
    -- row: of 300,000 products "product product" took 210 ms of CPU, so 50, and "oat milk" 6. The
    -- switches leave the planner no other way, whatever its statistics.
    SELECT count(*), array_agg(c.product_id ORDER BY c.product_id) FILTER (
        WHERE (c.product_id ILIKE p_pattern OR c.name ILIKE p_pattern)
            AND c.product_id > p_after AND (c.is_active OR p_with_inactive))
    INTO v_count, v_found
    FROM (
        SELECT p.product_id, p.name, p.is_active FROM products AS p
        WHERE p.store_id = p_store_id AND v_parts <> '{}' AND (
            (p.product_id ILIKE v_first AND p.product_id ILIKE v_middle
                AND p.product_id ILIKE v_last)
            OR (p.name ILIKE v_first AND p.name ILIKE v_middle AND p.name ILIKE v_last)
        )
        LIMIT p_most + 1
    ) AS c;
    IF v_parts <> '{}' AND v_count <= p_most THEN
        RETURN COALESCE(v_found[:p_limit], '{}');
    END IF;
    RETURN NULL;
END $$;

COMMENT ON FUNCTION find_products IS
    'The first p_limit ids after p_after of all products whose name or id is like p_pattern, by an '
    'index; null where it has no three letters or digits in a row, or parts that are in more than '
    'p_most products.';
