CREATE VIEW lapsed_registrations AS
SELECT u.store_id, u.user_id, u.login, l.expires_at
FROM user_links AS l
JOIN users AS u ON u.store_id = l.store_id AND u.user_id = l.user_id
LEFT JOIN accounts AS a ON a.store_id = u.store_id AND a.user_id = u.user_id
LEFT JOIN purchases AS p ON p.store_id = u.store_id AND p.user_id = u.user_id
LEFT JOIN bookings AS b ON b.store_id = u.store_id AND b.user_id = u.user_id
LEFT JOIN orders AS o ON o.store_id = u.store_id AND o.user_id = u.user_id
WHERE l.purpose = 'activation' AND l.used_at IS NULL AND l.expires_at <= clock_timestamp()
    AND NOT u.is_active AND COALESCE(a.user_id, p.user_id, b.user_id, o.user_id) IS NULL;

COMMENT ON VIEW lapsed_registrations IS
    'Users who never followed the link that would have let them in, now lapsed, and whom no '
    'account, purchase, booking or order names: they are removed, and their logins are free.';
COMMENT ON COLUMN lapsed_registrations.store_id IS 'The store.';
COMMENT ON COLUMN lapsed_registrations.user_id IS 'The user.';
COMMENT ON COLUMN lapsed_registrations.login IS 'What the user would have signed in as.';
COMMENT ON COLUMN lapsed_registrations.expires_at IS 'When the link lapsed.';
