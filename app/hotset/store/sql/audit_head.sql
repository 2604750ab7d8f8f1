-- audit_seals: the last seal, if there is one; below which transaction everything is final; the time.
SELECT number, to_tx, to_id, hash, sealed_at, audit_horizon() AS horizon, now() AS now
FROM (VALUES (1)) AS one (row) LEFT JOIN (SELECT * FROM audit_seals ORDER BY number DESC LIMIT 1) AS head ON true
