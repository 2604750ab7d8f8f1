single AND subject IS NOT NULL AND attribute IS NOT NULL AND attribute !~ 'verb:(be|many)' AND said_by <> 'assistant'
