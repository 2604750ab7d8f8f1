-- memories: what is left of what a job was asked about.
SELECT m.id, m.text, m.segment, m.digest, k.place
FROM memory_keys k JOIN memories m ON m.id = k.memory
WHERE k.tenant = %(tenant)s AND k.asked = %(id)s ORDER BY k.place
