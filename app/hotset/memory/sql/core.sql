-- memories: facts (a topic and a property, in one sentence) join the core ring; the rest stay episodes.
UPDATE memories SET ring = 'core' WHERE tenant = %(tenant)s AND ring = 'episode' AND settled AND /*fact*/
