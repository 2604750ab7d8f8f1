"""Postgres, the truth: jobs, leases, publishing, audit. SQL that matters is in `sql/`, the schema in `migrations/`."""

from hotset.store.cipher import Cipher
from hotset.store.engine import let_go, make_engine
from hotset.store.jobs import Accepted, Ended, Finished, JobStore
from hotset.store.migrate import downgrade, migrate

__all__ = ["Accepted", "Cipher", "Ended", "Finished", "JobStore", "downgrade", "let_go", "make_engine", "migrate"]
