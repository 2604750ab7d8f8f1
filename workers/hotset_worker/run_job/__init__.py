"""Run one job: receive, claim, prepare, infer, record. Acknowledging is Celery's, after this has returned."""

from hotset_worker.run_job.delivery import Delivery, Ended
from hotset_worker.run_job.main import run_job
from hotset_worker.run_job.receive import job_of
from hotset_worker.run_job.tools import Tools

__all__ = ["Delivery", "Ended", "Tools", "job_of", "run_job"]
