-- memories: not compared yet with what was known, in the order in which they were true.
SELECT id, scope, text, subject, attribute, valid_from, coalesce(about, embedding)::text AS vector,
       halfvec_send(embedding) AS whole, halfvec_send(coalesce(about, embedding)) AS about
FROM memories WHERE tenant = %(tenant)s AND NOT settled ORDER BY valid_from, recorded_at, id
LIMIT %(limit)s FOR UPDATE SKIP LOCKED
