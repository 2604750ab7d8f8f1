-- memories that lie in a segment.
SELECT id, digest FROM memories WHERE tenant = %(tenant)s AND scope = %(scope)s AND segment = %(segment)s
