CREATE VIEW account_violations AS
WITH ledger AS (
    SELECT store_id, account_id, user_id, number, balance_after,
        lag(number, 1, 0::bigint) OVER w + 1 AS next_number,
        lag(balance_after, 1, 0::bigint) OVER w + amount AS next_balance
    FROM account_entries WINDOW w AS (PARTITION BY store_id, account_id ORDER BY number)
), sums AS (
    SELECT store_id, account_id, sum(amount) AS balance, count(*) AS entry_count
    FROM account_entries GROUP BY store_id, account_id
), bought AS (
    SELECT store_id, purchase_id::text AS reference,
        format('account %s: %s', account_id, -price_at_purchase::numeric * quantity) AS payment,
        price_at_purchase = 0 AS is_free,
        format('product %s: %s', product_id, -quantity) AS movement
    FROM purchases
), paid AS (
    SELECT store_id, reference,
        string_agg(format('account %s: %s', account_id, amount), ', ') AS payment
    FROM account_entries WHERE reason = 'purchase' GROUP BY store_id, reference
), gone AS (
    SELECT store_id, reference,
        string_agg(format('product %s: %s', product_id, delta), ', ') AS movement
    FROM stock_movements WHERE reason = 'purchase' GROUP BY store_id, reference
)
SELECT 'never_overdrawn' AS invariant, store_id, account_id::text AS subject,
    '0 or more' AS expected, balance::text AS found
FROM accounts WHERE balance < 0
UNION ALL
SELECT 'balance_equals_entries', store_id, account_id::text,
    COALESCE(s.balance, 0)::text, COALESCE(a.balance, 0)::text
FROM accounts AS a FULL JOIN sums AS s USING (store_id, account_id)
WHERE COALESCE(a.balance, 0) <> COALESCE(s.balance, 0)
UNION ALL
SELECT 'entries_are_as_many_as_counted', store_id, account_id::text,
    a.entry_count::text, COALESCE(s.entry_count, 0)::text
FROM accounts AS a LEFT JOIN sums AS s USING (store_id, account_id)
WHERE a.entry_count <> COALESCE(s.entry_count, 0)
UNION ALL
SELECT 'entry_follows_the_last', store_id, format('%s/%s', account_id, number),
    format('number %s, balance %s', next_number, next_balance),
    format('number %s, balance %s', number, balance_after)
FROM ledger WHERE number <> next_number OR balance_after <> next_balance
UNION ALL
SELECT 'account_keeps_its_owner', store_id, format('%s/%s', account_id, l.number),
    format('user %s', l.user_id), format('user %s', a.user_id)
FROM accounts AS a JOIN ledger AS l USING (store_id, account_id)
WHERE l.user_id <> a.user_id
UNION ALL
SELECT 'purchase_is_the_owners', store_id, p.purchase_id::text,
    format('user %s', a.user_id), format('user %s', p.user_id)
FROM accounts AS a JOIN purchases AS p USING (store_id, account_id)
WHERE p.user_id <> a.user_id
UNION ALL
SELECT 'purchase_is_paid_once', store_id, reference,
    COALESCE(b.payment, 'no entry'), COALESCE(e.payment, 'no entry')
FROM bought AS b FULL JOIN paid AS e USING (store_id, reference)
WHERE b.payment IS DISTINCT FROM e.payment AND NOT (b.is_free AND e.payment IS NULL) IS TRUE
UNION ALL
SELECT 'purchase_left_the_stock', store_id, reference,
    COALESCE(b.movement, 'no movement'), COALESCE(m.movement, 'no movement')
FROM bought AS b FULL JOIN gone AS m USING (store_id, reference)
WHERE b.movement IS DISTINCT FROM m.movement;

COMMENT ON VIEW account_violations IS
    'The part of invariant_violations that is about money: balances, their ledger, purchases.';
COMMENT ON COLUMN account_violations.invariant IS 'Which invariant is broken.';
COMMENT ON COLUMN account_violations.store_id IS 'In which store.';
COMMENT ON COLUMN account_violations.subject IS 'On what: an account, an entry, a purchase.';
COMMENT ON COLUMN account_violations.expected IS 'What the other side of the books says.';
COMMENT ON COLUMN account_violations.found IS 'What stands in the row instead.';
