m.tenant = %(tenant)s AND m.scope = ANY(%(scopes)s) AND m.valid_from <= %(as_of)s
AND (m.expires_at IS NULL OR m.expires_at > now())
AND (%(since)s::timestamptz IS NULL OR m.valid_from >= %(since)s)
AND (%(until)s::timestamptz IS NULL OR m.valid_from < %(until)s)
AND (%(said_by)s::text IS NULL OR m.said_by = %(said_by)s)
AND (%(tags)s::text[] IS NULL OR m.tags @> %(tags)s)
AND (%(tier)s::text IS NULL OR m.state = %(tier)s)
