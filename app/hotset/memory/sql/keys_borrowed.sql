-- memory_keys of these scopes with words that their own sentences lack.
SELECT memory, scope, subject, attribute, borrowed FROM memory_keys
WHERE tenant = %(tenant)s AND scope = ANY(%(scopes)s) AND borrowed <> '{}' AND memory <> ALL(%(ids)s)
