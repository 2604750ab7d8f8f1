-- memory_scopes, with grants and handoffs. The tenant's name stays, as it does in its jobs.
DELETE FROM memory_scopes WHERE tenant = %(tenant)s
