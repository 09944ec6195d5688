\set n random(1, 2000)
\set who random(1, 2000000000)
BEGIN;
SELECT bookings_open_holds(NULL, 'limit-' || :who || '@example.com', now(), 5);
INSERT INTO bookings_booking (reference, status, product_id, pool_id, quote_id, start_at, end_at, driver_name, driver_email, driver_phone, plate, outbound_flight, return_flight, language, total_minor, currency, lines, policy, hold_expires_at, guest_token_hash, created_at) SELECT bench_reference(), 'held', p.id, p.pool_id, q.id, q.start_at, q.end_at, 'Bench Driver', 'limit-' || :who || '@example.com', '+442079460123', upper(substr(md5(random()::text), 1, 12)), '', '', 'en', q.total_minor, q.currency, q.lines, q.policy, now() + interval '15 minutes', repeat('a', 64), now() FROM bench_quote b JOIN bookings_quote q ON q.id = b.id JOIN bookings_product p ON p.id = q.product_id WHERE b.n = :n RETURNING id AS booking, pool_id AS pool \gset
INSERT INTO bookings_bookingevent (booking_id, kind, at, data) VALUES (:booking, 'held', now(), '{}');
INSERT INTO bookings_occupancy (booking_id, pool_id, period) SELECT id, pool_id, tstzrange(start_at, end_at) FROM bookings_booking WHERE id = :booking;
COMMIT;
