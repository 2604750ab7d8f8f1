-- memory_keys: nothing is put back that is gone.
UPDATE memory_keys SET in_place_of = NULL WHERE tenant = %(tenant)s AND in_place_of = ANY(%(ids)s)
