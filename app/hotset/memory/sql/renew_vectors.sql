-- memories: vectors by the present encoder.
UPDATE memories AS m SET encoder = %(encoder)s, embedding = v.whole::halfvec, about = v.about::halfvec
FROM unnest(%(ids)s::uuid[], %(wholes)s::text[], %(abouts)s::text[]) AS v(id, whole, about)
WHERE m.tenant = %(tenant)s AND m.id = v.id
