-- audit_seals: one more.
INSERT INTO audit_seals (number, month, from_tx, from_id, to_tx, to_id, entries, first_at, last_at, rows_hash, previous,
                         hash, sealed_at, sealed_by, marks)
VALUES (%(number)s, %(month)s, %(from_tx)s, %(from_id)s, %(to_tx)s, %(to_id)s, %(entries)s, %(first_at)s, %(last_at)s,
        %(rows_hash)s, %(previous)s, %(hash)s, %(sealed_at)s, %(sealed_by)s, %(marks)s)
