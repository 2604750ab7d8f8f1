-- memories: one's vectors, by the present encoder.
UPDATE memories SET encoder = %(encoder)s, embedding = %(whole)s::halfvec, about = %(about)s::halfvec
WHERE tenant = %(tenant)s AND id = %(id)s
