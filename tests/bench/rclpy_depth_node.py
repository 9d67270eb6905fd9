"""A depth node as a user would write it: rclpy, OpenCV, ONNX Runtime. The peer of perception_node in round_trip.py.

    python tests/bench/rclpy_depth_node.py ONNX_FOLDER WxH THREADS --ros-args -r image:=... -r depth/image_rect:=...

The networks are the files that `pixio export` wrote. Says on /diagnostics how long they took, and the rest between the callback's
begin and the end of publish, under perception_node's names (what rclpy spends on taking the image out of the middleware comes before).
"""

import array
import sys
import time
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class DepthNode(Node):
    def __init__(self, folder, size, threads):
        super().__init__("rclpy_depth_node")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = lambda name: onnxruntime.InferenceSession(
            str(folder / f"{name}_{size[0]}x{size[1]}.onnx"), options, providers=["CPUExecutionProvider"])
        self.backbone, self.head, self.size = session("backbone"), session("depth"), size
        self.tokens = [output.name for output in self.backbone.get_outputs()]
        self.asked = [given.name for given in self.head.get_inputs()]
        cv2.setNumThreads(threads)
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.publisher = self.create_publisher(Image, "depth/image_rect", QoSProfile(depth=1))
        self.diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self.create_subscription(CameraInfo, "camera_info", lambda message: setattr(self, "info", message), newest)
        self.create_subscription(Image, "image", self.on_image, newest)
        self.create_timer(1.0, self.tell)
        self.networks, self.beside = deque(maxlen=200), deque(maxlen=200)

    def preprocess(self, message):
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        pixels = pixels[:, :3 * message.width].reshape(message.height, message.width, 3)
        scale = max(to / side for to, side in zip(self.size, (message.width, message.height)))
        whole = [max(to, round(side * scale)) for to, side in zip(self.size, (message.width, message.height))]
        image = cv2.resize(pixels, whole, interpolation=cv2.INTER_AREA)
        left, top = ((side - to) // 2 for side, to in zip(whole, self.size))
        image = image[top:top + self.size[1], left:left + self.size[0]]
        return np.ascontiguousarray(((image * np.float32(1 / 255) - MEAN) / STD).transpose(2, 0, 1)[None])

    def on_image(self, message):
        began = time.perf_counter()
        given = self.preprocess(message)
        ready = time.perf_counter()
        tokens = dict(zip(self.tokens, self.backbone.run(None, {"image": given})))
        depth = self.head.run(None, {name: tokens[name] for name in self.asked})[0]
        computed = time.perf_counter()
        width, height = self.size
        result = Image(header=message.header, height=height, width=width, encoding="32FC1", step=4 * width)
        result.data = array.array("B", np.asarray(depth, np.float32).tobytes())
        self.publisher.publish(result)
        self.networks.append(1e3 * (computed - ready))
        self.beside.append(1e3 * (time.perf_counter() - began) - self.networks[-1])

    def tell(self):
        if not self.networks:
            return
        status = DiagnosticStatus(name=f"{self.get_name()}: camera", hardware_id="onnxruntime")
        for key, values in (("networks", self.networks), ("beside_networks", self.beside)):
            for share in (50, 99):
                status.values.append(KeyValue(key=f"{key}_p{share}_ms", value=f"{np.percentile(values, share):.3f}"))
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self.diagnostics.publish(message)


def main():
    folder, size, threads = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    rclpy.init(args=sys.argv)
    try:
        rclpy.spin(DepthNode(Path(folder), tuple(map(int, size.split("x"))), int(threads)))
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


if __name__ == "__main__":
    main()
