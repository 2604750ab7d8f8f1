-- memory_grants: taken back.
DELETE FROM memory_grants WHERE tenant = %(tenant)s AND scope = %(scope)s AND agent = %(agent)s
