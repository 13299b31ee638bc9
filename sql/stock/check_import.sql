CREATE OR REPLACE FUNCTION check_import(
    p_store_id text, p_add boolean, p_after text DEFAULT NULL, p_last text DEFAULT NULL,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_count bigint;
    v_first jsonb;
BEGIN
    SELECT count(*), jsonb_agg(jsonb_build_array(
        p.line_number, regexp_replace(p.problem, '^(.{80}).+(.{80})$', '\1…\2')
    ) ORDER BY p.line_number) FILTER (WHERE p.position <= 100)
    INTO v_count, v_first
    FROM judge_import_lines(p_store_id, p_add, p_after, p_last)
    WITH ORDINALITY AS p (line_number, problem, position);
    result_code := CASE WHEN v_count = 0 THEN 'ok' ELSE 'invalid_lines' END;
    IF v_count > 0 THEN
        document := jsonb_build_object('problem_count', v_count, 'problems', v_first);
    END IF;
END $$;

COMMENT ON FUNCTION check_import IS
    'Whether the lines of import_lines can be written; of a refusal the document has the number of '
    'wrong lines and the first 100 as [line_number, problem], long ones without their middle. For '
    'the owner. Codes: ok, invalid_lines.';
