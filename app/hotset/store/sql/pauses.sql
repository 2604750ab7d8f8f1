-- pauses: all of them, the oldest first.
SELECT kind, name, since, by, reason FROM pauses ORDER BY since, kind, name
