"""Run one job: receive, claim, prepare, infer, record. Acknowledging is Celery's, after this has returned."""

from hotset_worker.run_job.main import Delivery, run_job
from hotset_worker.run_job.tools import Tools

__all__ = ["Delivery", "Tools", "run_job"]
