-- message_keys: what was sent with a key.
SELECT message, copies, encode(body_hash, 'hex') AS hash
FROM message_keys
WHERE tenant = %(tenant)s AND sender = %(sender)s AND key = %(key)s
