-- memory_sources: what was made of the newer of two with one text is made of the older.
INSERT INTO memory_sources (tenant, scope, summary, source)
SELECT tenant, scope, summary, %(older)s FROM memory_sources WHERE tenant = %(tenant)s AND source = %(newer)s
ON CONFLICT DO NOTHING
