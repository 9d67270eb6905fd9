"""`make demo-record`: asks the simulated robot for a new episode, the recorder to record it, and waits for the task to be done."""

import argparse
import sys
import time

import rclpy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

from peer import Peer

PATIENCE = 300.0  # seconds of the wall clock for an answer or an episode
AFTER = 1.25  # simulated seconds recorded after success
LONGEST = 8.0  # simulated seconds of an episode
MOST_TRIES = 2  # episodes recorded for each that is wanted: the recorder's gate rejects bad ones

parser = argparse.ArgumentParser()
parser.add_argument("--episodes", type=int, required=True)
parser.add_argument("--task", required=True, help="a sentence")
arguments = parser.parse_args()


class Session(Peer):
    def __init__(self):
        super().__init__("demo_record", PATIENCE)
        self.now = 0.0
        self.node.create_subscription(Clock, "/clock", self.on_clock, 10)
        self.task = self.node.create_publisher(String, "/recorder_node/task", 1)

    def on_clock(self, message):
        self.now = message.clock.sec + 1e-9 * message.clock.nanosec

    def sleep(self, seconds):
        end = self.now + seconds
        self.until(lambda: self.now >= end, "time")

    def must(self, service):
        answer = self.ask(service)
        if not answer.success:
            raise SystemExit(f"demo-record: {service}: {answer.message}")
        return answer.message

    def episode(self, number):
        placed = self.must("/robot/reset")
        began, wall = self.now, time.monotonic()
        self.must("/recorder_node/start")
        while not self.ask("/robot/success").success and self.now < began + LONGEST:
            self.sleep(0.1)
        done = self.ask("/robot/success").success
        self.sleep(AFTER)
        answer = self.ask("/recorder_node/stop")
        took = time.monotonic() - wall
        print(f"episode {number}: {placed}, {'done' if done else 'NOT done'} after {self.now - began - AFTER:.1f} s; "
              f"real-time factor {(self.now - began) / took:.2f}; {answer.message}", flush=True)
        return done and answer.success


def main():
    rclpy.init()
    session = Session()
    session.until(lambda: session.now > 0, "/clock")
    session.until(lambda: session.task.get_subscription_count() > 0, "recorder_node")
    session.task.publish(String(data=arguments.task))
    # It begins none before it has found who tells the time.
    session.until(lambda: session.ask("/recorder_node/start").success, "/clock at recorder_node")
    session.must("/recorder_node/discard")
    kept = tried = 0
    while kept < arguments.episodes and tried < MOST_TRIES * arguments.episodes:
        kept += session.episode(tried)
        tried += 1
    print(f"{kept} of {arguments.episodes} episodes done and kept, {tried} recorded")
    return 0 if kept == arguments.episodes else 1


sys.exit(main())
