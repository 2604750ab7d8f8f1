-- jobs, results: what a summary's job was told and answered goes.
SELECT memory_erase_job(%(job)s, %(actor)s, %(reason)s)
