-- memories: few fit, so that every one is compared. One row: an entry for each that fits, all in one order, as bytes,
-- which neither end has to take apart: its id, how far the whole text is and how far what is said of its names (float4,
-- which is what pgvector computes; infinity where there is no vector), and whether it is a summary, names all or some of
-- the question's names, or none. Vectors have length 1: their inner product is their cosine, at a third of the work.
-- Beside these all names of those that name all, in their order; and pairs of ids, of what took the place of what.
SELECT string_agg(id, ''::bytea) AS ids,
       string_agg(float4send(coalesce(whole, 'infinity')), ''::bytea) AS whole,
       string_agg(float4send(coalesce(about, 'infinity')), ''::bytea) AS about,
       string_agg(kind, '') AS kinds,
       array_agg(array_to_string(terms, ' ')) FILTER (WHERE kind = 'a') AS names,
       string_agg(id || uuid_send(superseded_by), ''::bytea) FILTER (WHERE superseded_by IS NOT NULL) AS followed
FROM (
    SELECT uuid_send(m.id) AS id, m.terms, m.superseded_by,
           (m.embedding <#> %(whole)s::halfvec)::real AS whole,
           (coalesce(m.about, m.embedding) <#> %(about)s::halfvec)::real AS about,
           CASE WHEN m.ring = 'summary' THEN 's'
                WHEN m.terms && %(terms)s::text[] THEN CASE WHEN m.terms @> %(terms)s::text[] THEN 'a' ELSE 'n' END
                ELSE '-' END AS kind
    FROM memories m WHERE /*fits*/
    OFFSET 0
) AS fitting
