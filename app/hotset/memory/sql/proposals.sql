-- memory_proposals of a scope.
SELECT older, newer, cosine FROM memory_proposals WHERE tenant = %(tenant)s AND scope = %(scope)s
ORDER BY cosine DESC LIMIT %(limit)s
