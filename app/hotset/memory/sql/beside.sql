-- memory_terms: the memories that have one of these names, their ids as bytes.
SELECT string_agg(DISTINCT uuid_send(memory), ''::bytea) AS ids
FROM memory_terms WHERE tenant = %(tenant)s AND scope = ANY(%(scopes)s) AND term = ANY(%(beside)s::text[])
