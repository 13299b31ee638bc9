CREATE OR REPLACE FUNCTION import_problems(p_store_id text, p_add boolean)
RETURNS TABLE (line_number bigint, problem text)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- As the CHECK of products: 1-64 visible characters, no colon.
    v_id text := '^[^\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F'
        || '\u3000\uFEFF:]{1,64}$';
    v_whole text := '^[0-9]{1,19}$';
    v_most bigint := 9223372036854775807;
BEGIN
    RETURN QUERY
    SELECT p.line_number, p.problem
    FROM (
        SELECT l.line_number, CASE
            WHEN l.problem IS NOT NULL THEN l.problem
            WHEN l.product_id !~ v_id THEN format(
                'product_id "%s" is not 1-64 visible characters without a colon', l.product_id)
            WHEN l.first_line < l.line_number THEN format(
                'product %s stands in line %s already', l.product_id, l.first_line)
            WHEN l.quantity !~ v_whole THEN format(
                'quantity "%s" is not a whole number', l.quantity)
            WHEN l.price !~ v_whole THEN format(
                'price "%s" is not a whole number of minor units', l.price)
            WHEN l.price::numeric > v_most THEN format('price %s is too large', l.price)
            WHEN l.quantity::numeric + CASE WHEN p_add THEN COALESCE(s.on_hand, 0) ELSE 0 END
                > v_most THEN format('quantity %s is too large', l.quantity)
            WHEN NOT p_add AND l.quantity::numeric < s.reserved THEN format(
                'product %s has %s units reserved, more than %s',
                l.product_id, s.reserved, l.quantity)
            END AS problem
        FROM (
            SELECT *,
                min(line_number) OVER (PARTITION BY product_id COLLATE "C") AS first_line
            FROM import_lines
        ) AS l
        LEFT JOIN stock AS s
            ON s.store_id = p_store_id AND s.product_id = l.product_id COLLATE "C"
    ) AS p
    WHERE p.problem IS NOT NULL
    ORDER BY p.line_number;
END $$;

COMMENT ON FUNCTION import_problems IS
    'What is wrong with the lines of pg_temp.import_lines, one row per wrong line. The caller '
    'holds the locks of the stock concerned.';
