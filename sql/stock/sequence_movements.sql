CREATE OR REPLACE FUNCTION sequence_movements(p_store_id text, p_limit int DEFAULT 5000)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- One at a time, until its positions are committed: nobody reads past a row to come.
    PERFORM pg_advisory_xact_lock(hashtextextended('sequence_movements:' || p_store_id, 0));

    -- All rows that are seen here are committed. One that commits later gets a later position,
    -- whenever it was made. The order is that of time, and each product's own.
    UPDATE stock_movements AS m SET position = n.position
    FROM (
        SELECT w.movement_id,
            row_number() OVER (ORDER BY w.created_at, w.product_id, w.number) + COALESCE((
                SELECT max(l.position) FROM stock_movements AS l
                WHERE l.store_id = p_store_id AND l.position IS NOT NULL), 0) AS position
        FROM (
            SELECT movement_id, created_at, product_id, number FROM stock_movements
            WHERE store_id = p_store_id AND position IS NULL
            ORDER BY created_at, product_id, number LIMIT p_limit
        ) AS w
    ) AS n
    WHERE m.store_id = p_store_id AND m.movement_id = n.movement_id;
END $$;

COMMENT ON FUNCTION sequence_movements IS
    'Give the movements that were committed meanwhile their positions, up to p_limit of them. '
    'Run by whoever reads them.';
