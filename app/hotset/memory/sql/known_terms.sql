-- memory_terms: which of these words are names here; those that stand first in a question need less proof.
SELECT w AS term FROM unnest(%(words)s::text[]) AS w
WHERE EXISTS (SELECT 1 FROM memory_terms t
              WHERE t.tenant = %(tenant)s AND t.scope = ANY(%(scopes)s) AND t.term = w
                AND (t.sure OR w = %(first)s))
