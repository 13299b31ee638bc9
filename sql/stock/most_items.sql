CREATE OR REPLACE FUNCTION most_items() RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$ SELECT 100000 $$;

COMMENT ON FUNCTION most_items IS
    'How many items one document may hold: more are read page by page.';
