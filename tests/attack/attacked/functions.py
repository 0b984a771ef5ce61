"""Entry points of the contexts, and what is not one."""

import logging
import os
import time

from attacked import context, other

LOG = logging.getLogger(__name__)


@context.entrypoint
def add(one, two=0):
    return one + two


@context.entrypoint
def who():
    return [os.getpid(), *os.getresuid()]


@context.entrypoint
def fail(text):
    raise FileNotFoundError(2, text)


@context.entrypoint
def tell(text):
    LOG.warning("told: %s", text)


@context.entrypoint_with_timeout(0.3)
def dawdle(seconds):
    time.sleep(seconds)


@context.entrypoint
def sleep(seconds):
    time.sleep(seconds)


@other.entrypoint
def of_another_context():
    return "reached"


def not_exported():
    return "reached"
