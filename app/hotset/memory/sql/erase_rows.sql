-- memories, with their terms and proposals.
DELETE FROM memories WHERE tenant = %(tenant)s AND id = ANY(%(ids)s) RETURNING id
