CREATE OR REPLACE FUNCTION lock_categories(p_store_id text) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('categories:' || p_store_id, 0));
END $$;

COMMENT ON FUNCTION lock_categories IS
    'Let moves within the tree of a store happen one after another, until the transaction ends.';
