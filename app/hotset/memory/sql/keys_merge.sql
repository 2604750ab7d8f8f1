-- memory_keys: what they note of the newer of two with one text they note of the older.
UPDATE memory_keys SET follows = CASE WHEN follows = %(newer)s THEN %(older)s ELSE follows END,
                       in_place_of = CASE WHEN in_place_of = %(newer)s THEN %(older)s ELSE in_place_of END
WHERE tenant = %(tenant)s AND (follows = %(newer)s OR in_place_of = %(newer)s)
