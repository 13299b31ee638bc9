CREATE VIEW booking_violations AS
SELECT 'no_overlapping_bookings' AS invariant, a.store_id,
    format('%s/%s', a.table_id, a.booking_id) AS subject,
    'the table for itself' AS expected, format('also booking %s', b.booking_id) AS found
FROM bookings AS a
JOIN bookings AS b ON b.store_id = a.store_id AND b.table_id = a.table_id
    AND b.booking_id > a.booking_id AND b.during && a.during
WHERE a.status IN ('confirmed', 'seated') AND b.status IN ('confirmed', 'seated')
UNION ALL
SELECT 'one_party_at_a_table', store_id, table_id::text, '1', count(*)::text
FROM bookings WHERE status = 'seated'
GROUP BY store_id, table_id HAVING count(*) > 1
UNION ALL
SELECT 'erased_guest_is_empty', store_id, guest_id::text, 'no contacts', 'contacts'
FROM guests
WHERE erased_at IS NOT NULL AND COALESCE(name, email, phone, language) IS NOT NULL;

COMMENT ON VIEW booking_violations IS
    'The part of invariant_violations that is about restaurant tables.';
COMMENT ON COLUMN booking_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN booking_violations.store_id IS 'In which restaurant.';
COMMENT ON COLUMN booking_violations.subject IS 'On which table, booking or guest.';
COMMENT ON COLUMN booking_violations.expected IS 'What has to be.';
COMMENT ON COLUMN booking_violations.found IS 'What is instead.';
