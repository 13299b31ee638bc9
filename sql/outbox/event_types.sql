CREATE OR REPLACE FUNCTION event_types() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT ARRAY[
        'booking.requested', 'booking.confirmed', 'booking.declined', 'booking.cancelled',
        'booking.moved', 'booking.seated', 'booking.finished', 'booking.no_show',
        'order.paid', 'order.cancelled', 'order.expired', 'order.refunded',
        'reservation.expired', 'purchase.made', 'stock.low'
    ]
$$;

COMMENT ON FUNCTION event_types IS 'The types of events that webhooks tell of.';
