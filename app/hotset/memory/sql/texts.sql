-- memories: the texts that lie here, and where the others lie.
SELECT id, text, segment, digest FROM memories WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
