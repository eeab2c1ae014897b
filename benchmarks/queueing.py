"""The M/D/c queue: the number of servers that a stream of visitors needs.

Visitors come at random (M), each answer takes equally long (D), c servers share one queue. The mean wait of
M/D/c is taken as half that of M/M/c, which is exact for one server and close for more.

    >>> round(mean_wait(arrivals=0.5, service=1.0, servers=1), 3)
    0.5
    >>> servers_needed(visitors_per_hour=1000, service=1.5, wait=2.0)
    1
"""

from __future__ import annotations

import math


def mean_wait(*, arrivals: float, service: float, servers: int) -> float:
    """Seconds from a visitor's arrival until a server takes it; infinite where more come than can be served.

    Args:
        arrivals: a second.
        service: seconds for one.
    """
    load = arrivals * service
    if load >= servers:
        return math.inf
    # Erlang's B by its recursion, and C from it: the share of visitors who find all servers busy
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    busy = blocked / (1 - load / servers * (1 - blocked))
    return busy * service / (servers - load) / 2


def servers_needed(*, visitors_per_hour: float, service: float, wait: float) -> int:
    """The fewest servers with which visitors wait no longer than `wait` seconds on average."""
    arrivals = visitors_per_hour / 3600
    servers = math.floor(arrivals * service) + 1
    while mean_wait(arrivals=arrivals, service=service, servers=servers) > wait:
        servers += 1
    return servers


def burst(*, visitors: int, service: float, servers: int = 1) -> list[float]:
    """When each of many visitors who come at once has its answer, in seconds."""
    return [service * (1 + visitor // servers) for visitor in range(visitors)]
