-- memories: not compared yet with what was known, in the order in which they were true.
SELECT id, scope, text, subject, attribute, valid_from, coalesce(about, embedding)::text AS vector
FROM memories WHERE tenant = %(tenant)s AND NOT settled ORDER BY valid_from, recorded_at, id
LIMIT %(limit)s FOR UPDATE SKIP LOCKED
