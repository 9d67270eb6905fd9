"""Prints a ROS_DOMAIN_ID whose discovery ports nobody on this machine uses."""

import random
import socket

# RTPS: port = 7400 + 250 * domain + offset; 0 is multicast, 10 + 2 i the unicast discovery of participant i.
OFFSETS = (0, 1, 10, 11, 12, 13)


def is_free(domain: int) -> bool:
    for offset in OFFSETS:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain + offset))
            except OSError:
                return False
    return True


# Above 101 the ports reach into those that Linux hands out by itself.
domains = list(range(1, 102))
random.shuffle(domains)
print(next(domain for domain in domains if is_free(domain)))
