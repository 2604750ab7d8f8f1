-- memory_segments: a new one.
INSERT INTO memory_segments (id, tenant, scope, body, checksum, entries, text_bytes)
VALUES (%(id)s, %(tenant)s, %(scope)s, %(body)s, %(checksum)s, %(entries)s, %(text_bytes)s)
