-- memories and memory_terms: one memory.
WITH made AS (
    INSERT INTO memories (id, tenant, scope, ring, text, digest, subject, attribute, single, runs, terms, stems,
                          valid_from, valid_to, supersedes, superseded_by, settled, said_by, source, tags, importance, pinned,
                          expires_at, encoder, embedding, about)
    VALUES (%(id)s, %(tenant)s, %(scope)s, %(ring)s, %(text)s, %(digest)s, %(subject)s, %(attribute)s, %(single)s,
            %(runs)s, %(terms)s, %(stems)s, coalesce(%(at)s, now()), %(valid_to)s, %(supersedes)s, %(superseded_by)s, %(settled)s,
            %(said_by)s, %(source)s::jsonb, %(tags)s, %(importance)s, %(pinned)s,
            now() + make_interval(secs => %(ttl_s)s), %(encoder)s, %(embedding)s::halfvec, %(about)s::halfvec)
)
INSERT INTO memory_terms (tenant, scope, term, memory, sure)
SELECT %(tenant)s, %(scope)s, term, %(id)s, term = ANY(%(sure)s::text[]) FROM unnest(%(listed)s::text[]) AS term
