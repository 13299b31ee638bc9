CREATE OR REPLACE FUNCTION judge_import_lines(
    p_store_id text, p_add boolean, p_after text DEFAULT NULL, p_last text DEFAULT NULL
) RETURNS TABLE (line_number bigint, problem text)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- As the CHECK of products: 1-64 visible characters, no colon.
    v_unseen text := '[\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F'
        || '\u205F-\u206F\u3000\uFEFF:]';
    v_whole text := '^[0-9]{1,19}$';
    v_most bigint := 9223372036854775807;
BEGIN
    RETURN QUERY
    SELECT p.line_number, p.problem
    FROM (
        SELECT l.line_number, CASE
            WHEN l.problem IS NOT NULL THEN l.problem
            WHEN length(l.product_id) NOT BETWEEN 1 AND 64 OR l.product_id ~ v_unseen THEN format(
                'product_id "%s" is not 1-64 visible characters without a colon', l.product_id)
            WHEN l.first_line < l.line_number THEN format(
                'product %s stands in line %s already', l.product_id, l.first_line)
            WHEN l.quantity !~ v_whole THEN format(
                'quantity "%s" is not a whole number', l.quantity)
            WHEN l.price !~ v_whole AND l.price <> '' THEN format(
                'price "%s" is not a whole number of minor units', l.price)
            WHEN l.price <> '' AND l.price::numeric > v_most THEN format(
                'price %s is too large', l.price)
            WHEN l.quantity::numeric + CASE WHEN p_add THEN COALESCE(s.on_hand, 0) ELSE 0 END
                > v_most THEN format('quantity %s is too large', l.quantity)
            WHEN NOT p_add AND l.quantity::numeric < s.reserved THEN format(
                'product %s has %s units reserved, more than %s',
                l.product_id, s.reserved, l.quantity)
            END AS problem
        FROM (
            SELECT *, first_value(line_number) OVER (
                PARTITION BY product_id ORDER BY line_number) AS first_line
            FROM import_lines
            WHERE store_id = p_store_id
                AND (p_after IS NULL OR product_id > p_after COLLATE "C")
                AND (p_last IS NULL OR product_id <= p_last COLLATE "C")
        ) AS l
        LEFT JOIN stock AS s ON s.store_id = p_store_id AND s.product_id = l.product_id
    ) AS p
    WHERE p.problem IS NOT NULL
    ORDER BY p.line_number;
END $$;

COMMENT ON FUNCTION judge_import_lines IS
    'What is wrong with the lines of import_lines, of products after p_after and up to p_last '
    '(nulls: of all), one row per wrong line. What is reserved may change until it is locked.';
