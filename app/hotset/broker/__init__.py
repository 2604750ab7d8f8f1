"""Redis, the speed: waiting jobs in lanes, grants and claims, the Celery application on our transport."""

from hotset.broker.app import make_app
from hotset.broker.board import Board, GpuState
from hotset.broker.grants import Grant, GrantDesk, GrantEvent, Released, Returned, Spent
from hotset.broker.lanes import CANCEL, SUSPECT, WAKE, Lanes, LanesState, LaneState, connect_redis
from hotset.broker.look import look
from hotset.broker.messages import TASK
from hotset.broker.replies import Replies, channel

__all__ = [
    "CANCEL",
    "SUSPECT",
    "TASK",
    "WAKE",
    "Board",
    "GpuState",
    "Grant",
    "GrantDesk",
    "GrantEvent",
    "LaneState",
    "Lanes",
    "LanesState",
    "Released",
    "Replies",
    "Returned",
    "Spent",
    "channel",
    "connect_redis",
    "look",
    "make_app",
]
