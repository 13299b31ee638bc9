CREATE OR REPLACE FUNCTION table_document(p_table dining_tables)
RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT jsonb_build_object('table_id', p_table.table_id, 'kind', p_table.kind,
        'seats', p_table.seats, 'price', p_table.price, 'is_open', p_table.is_open)
$$;

COMMENT ON FUNCTION table_document IS 'A table of a restaurant, as callers see it.';
