-- jobs: those of the ids that are the tenant's.
SELECT id FROM jobs WHERE tenant = %(tenant)s AND id = ANY(%(ids)s::uuid[])
