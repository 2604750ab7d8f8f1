"""A virtual clock around the same policy that runs live, and the simple policies it is measured against."""

from hotset.simulator.devices import Outage
from hotset.simulator.jobs_file import SimJob, parse_jobs, read_jobs
from hotset.simulator.result import Result
from hotset.simulator.run import POLICIES, Policy, simulate

__all__ = ["POLICIES", "Outage", "Policy", "Result", "SimJob", "parse_jobs", "read_jobs", "simulate"]
