-- audit_seals: all of them in their order.
SELECT number, month, from_tx, from_id, to_tx, to_id, entries, first_at, last_at, rows_hash, previous, hash, sealed_at,
       sealed_by, marks
FROM audit_seals ORDER BY number
