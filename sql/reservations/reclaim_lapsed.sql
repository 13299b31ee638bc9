CREATE OR REPLACE FUNCTION reclaim_lapsed(
    p_store_id text, p_product_ids text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_config('holdfast.reason', 'expire', true);
    WITH lapsed AS (
        UPDATE reservations SET status = 'expired', closed_at = expires_at
        WHERE store_id = p_store_id AND product_id = ANY (p_product_ids)
            AND status = 'held' AND expires_at IS NOT NULL AND expires_at <= p_now
        RETURNING product_id, quantity
    ), units AS (
        SELECT product_id, sum(quantity) AS quantity FROM lapsed GROUP BY product_id
    )
    UPDATE stock SET reserved = reserved - units.quantity FROM units
    WHERE stock.store_id = p_store_id AND stock.product_id = units.product_id;
    PERFORM set_config('holdfast.reason', '', true);
END $$;

COMMENT ON FUNCTION reclaim_lapsed IS
    'Take the units of lines that lapsed by p_now back into stock that the caller has locked: '
    'while it has, such a line can be neither committed nor extended.';
