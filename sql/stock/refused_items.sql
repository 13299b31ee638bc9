CREATE OR REPLACE FUNCTION refused_items(p_items jsonb[]) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_items jsonb := to_jsonb(p_items);
BEGIN
    v_items := jsonb_path_query_array(v_items, '$[*] ? (@.available == null)')
        || jsonb_path_query_array(v_items, '$[*] ? (@.available != null)');
    RETURN v_items -> 0 || jsonb_build_object('items', v_items);
END $$;

COMMENT ON FUNCTION refused_items IS
    'The facts of a refused demand: the first item in the way, and all: those that the store does '
    'not know, whose available is null, before those of which there is too little.';
