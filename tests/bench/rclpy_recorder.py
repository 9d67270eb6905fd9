"""The plain recorder that tests/bench/record.py measures against: rclpy raw subscriptions and the `mcap` package's writer.

    python tests/bench/rclpy_recorder.py FILE.mcap TOPIC=PACKAGE/msg/NAME ...

Prints `ready`, records until SIGINT, then prints how many messages it wrote.
"""

import importlib
import signal
import sys
import time

import rclpy
from mcap.writer import CompressionType, Writer
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy


def message_class(name):
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def main():
    path, topics = sys.argv[1], dict(argument.split("=") for argument in sys.argv[2:])
    stopped = []
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    node = rclpy.create_node("rclpy_recorder")
    count = 0
    with open(path, "wb") as file:
        # Like the other recorder's bags: chunks of about a megabyte, no compression.
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start(profile="ros2")

        def record(channel):
            def write(data):
                nonlocal count
                now = time.time_ns()
                writer.add_message(channel_id=channel, log_time=now, publish_time=now, data=data)
                count += 1

            return write

        qos = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
        for topic, kind in topics.items():
            schema = writer.register_schema(name=kind, encoding="ros2msg", data=b"")
            channel = writer.register_channel(topic=topic, message_encoding="cdr", schema_id=schema)
            node.create_subscription(message_class(kind), topic, record(channel), qos, raw=True)
        # rclpy.spin_once would add and remove the node, and build its wait set anew, for every message.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        print("ready", flush=True)
        while not stopped:
            executor.spin_once(timeout_sec=0.1)
        writer.finish()
    print(count, flush=True)


if __name__ == "__main__":
    main()
