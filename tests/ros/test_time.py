"""Time: simulated, going back, and cameras that come, go and change."""

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from conftest import camera_info, image, pixels
from habits import set_parameters, wait_for_status

DEPTH = "/perception_node/depth/image_rect"
INFO = "/perception_node/depth/camera_info"


def connect(peer, clock=False):
    topics = {"/image": Image, "/camera_info": CameraInfo, **({"/clock": Clock} if clock else {})}
    for topic, kind in topics.items():
        peer.publisher(topic, kind)
    peer.connected(list(topics))


def tick(peer, seconds):
    message = Clock()
    message.clock.sec, message.clock.nanosec = int(seconds), int(round(seconds % 1 * 1e9))
    peer.publishers["/clock"].publish(message)


def received(peer, topic=DEPTH):
    return [message.header.stamp.sec + message.header.stamp.nanosec / 1e9 for message in peer.received[topic]]


def send(peer, seconds, **more):
    message = image(int(seconds), pixels(), nanosec=int(round(seconds % 1 * 1e9)), **more)
    peer.publishers["/image"].publish(message)


def result_of(peer, seconds):
    """Sends the frame until its depth comes: over best effort, or while busy, one may be lost."""
    def came():
        if seconds in received(peer):
            return True
        send(peer, seconds)
        peer.spin(0.3)
        return seconds in received(peer)

    peer.spin_until(came, f"the depth of {seconds}")


def test_a_bag_in_a_loop_under_simulated_time(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle, "use_sim_time": "true"})
    peer.listen(DEPTH, Image)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer, clock=True)
    peer.publishers["/camera_info"].publish(camera_info())
    for loop in range(2):
        for second in (100.0, 100.5, 101.0, 101.5):
            tick(peer, second)
            peer.spin(0.2)
            before = received(peer).count(second)
            assert (before == 0) == (loop == 0), "a second time only when the bag begins anew"

            def came():
                send(peer, second)
                peer.spin(0.3)
                return received(peer).count(second) > before

            peer.spin_until(came, f"the depth of {second} in loop {loop}")
    assert node.output().count("ROS time jumped to 100.") == 1
    whole = wait_for_status(peer, "perception_node", lambda level, message, values: values["time_jumped"] == "1")
    assert whole[2]["use_sim_time"] == "true"
    assert whole[:2] in ((0, "active"), (1, "ROS time jumped"))
    # Stamped with simulated time.
    assert peer.received["/diagnostics"][-1].header.stamp.sec == 101
    wait_for_status(peer, "perception_node: camera", lambda level, message, values: level == 0 or "no image" in message)


def test_stamps_that_go_back_without_simulated_time(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    connect(peer)
    peer.publishers["/camera_info"].publish(camera_info())
    for second in (50.0, 51.0, 20.0, 21.0):
        result_of(peer, second)
    order = [second for at, second in enumerate(received(peer)) if second not in received(peer)[:at]]
    assert order == [50.0, 51.0, 20.0, 21.0]
    assert "/image: stamps went back to 20.000000000" in node.output()


def test_time_is_simulated_from_now_on(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen("/diagnostics", DiagnosticArray)
    peer.listen(DEPTH, Image)
    peer.publisher("/clock", Clock)
    connect(peer)
    peer.spin_until(lambda: peer.received["/diagnostics"], "diagnostics")
    assert peer.received["/diagnostics"][-1].header.stamp.sec > 1_500_000_000
    [result] = set_parameters(peer, "/perception_node", use_sim_time=True)
    assert result.successful
    peer.connected(["/clock"])
    missing = "use_sim_time is set, and nothing came on /clock yet"
    wait_for_status(peer, "perception_node", lambda level, message, values: level == 1 and missing in message)
    peer.spin_until(lambda: missing in node.output(), "the warning in the log")
    peer.publishers["/camera_info"].publish(camera_info())
    result_of(peer, 50.0)
    _, message, values = wait_for_status(
        peer, "perception_node: camera", lambda level, message, values: int(values["results_published"]) > 0)
    assert "old (p99)" not in message and values["age_p50_ms"] == "unknown", "there is no time to tell its age by"

    def follows():
        tick(peer, 7.0)
        peer.spin(0.2)
        return peer.received["/diagnostics"][-1].header.stamp.sec == 7

    peer.spin_until(follows, "simulated stamps")
    wait_for_status(peer, "perception_node", lambda level, message, values: missing not in message)
    assert node.output().count(missing) == 1
    [result] = set_parameters(peer, "/perception_node", use_sim_time=False)
    assert result.successful
    peer.spin_until(lambda: peer.received["/diagnostics"][-1].header.stamp.sec > 1_500_000_000, "the system's time again")


def test_a_camera_that_vanishes_and_returns(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "input_timeout_secs": 1.0, "max_age_secs": 3600.0})
    peer.listen(DEPTH, Image)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer)
    camera = "perception_node: camera"
    wait_for_status(peer, camera, lambda level, message, values: (level, message) == (1, "no image has come yet"))
    peer.publishers["/camera_info"].publish(camera_info())
    now = peer.node.get_clock().now().nanoseconds // 10**9
    result_of(peer, float(now))
    wait_for_status(peer, camera, lambda level, message, values: level == 2 and "no image for" in message)
    for topic in ("/image", "/camera_info"):
        peer.node.destroy_publisher(peer.publishers.pop(topic))
    peer.spin(1.5)
    connect(peer)
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.1)
    result_of(peer, float(now + 100))
    # It keeps coming, so the error goes.
    sent = iter(range(now + 101, now + 10000))

    def fine(level, message, values):
        send(peer, float(next(sent)))
        return "no image" not in message

    wait_for_status(peer, camera, fine)


def test_a_late_camera_info(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer)
    for second in range(1, 6):
        send(peer, float(second))
        peer.spin(0.1)
    node.wait_for("no camera_info has come yet on /camera_info")
    assert node.output().count("no camera_info has come yet") == 1, "throttled"
    wait_for_status(peer, "perception_node: camera", lambda level, message, values: level == 2 and "no camera_info" in message)
    assert received(peer) == []
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.2)
    result_of(peer, 10.0)
    assert set(received(peer)) == {10.0}, "frames of before are not made up for"


def test_intrinsics_of_a_frame_are_constant(start, peer, bundle):
    node = start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    peer.listen(INFO, CameraInfo)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer)
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.1)
    result_of(peer, 1.0)
    # Another calibration for the same frame: nothing comes of it, and it is told.
    peer.publishers["/camera_info"].publish(camera_info(focal=75.0))
    peer.spin(0.1)
    for second in (2.0, 3.0):
        send(peer, second)
        peer.spin(0.3)
    node.wait_for("the camera of frame_id \"front_optical\" changed")
    changed = wait_for_status(peer, "perception_node: camera", lambda level, message, values: level == 2 and "changed" in message)
    assert int(changed[2]["changed_camera"]) >= 1
    # Another image size changes the intrinsics of the results just as well.
    send_small = image(4, pixels(size=(40, 30)))
    peer.publishers["/camera_info"].publish(camera_info(size=(40, 30), focal=40.0))
    peer.spin(0.1)
    peer.publishers["/image"].publish(send_small)
    peer.spin(0.3)
    # As it was: results go on. Another frame has its own intrinsics.
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.1)
    result_of(peer, 5.0)
    peer.publishers["/camera_info"].publish(camera_info(focal=75.0, frame="other_optical"))
    peer.spin(0.1)
    peer.publishers["/image"].publish(image(6, pixels(), frame="other_optical"))
    peer.spin_until(lambda: 6.0 in received(peer), "the other frame")
    assert set(received(peer)) == {1.0, 5.0, 6.0}
    frames = lambda: {message.header.frame_id for message in peer.received[INFO]}
    peer.spin_until(lambda: len(frames()) == 2, "the camera infos of both frames")
    for frame in ("front_optical", "other_optical"):
        of = {tuple(m.k) for m in peer.received[INFO] if m.header.frame_id == frame}
        assert len(of) == 1, f"one set of intrinsics for {frame}"


def test_diagnostics_say_what_runs(start, peer, bundle):
    start("perception_node", {"bundle": bundle, "cameras": "[left, right]"}, remaps={"__ns": "/robot"})
    peer.listen("/diagnostics", DiagnosticArray)
    whole = wait_for_status(peer, "robot/perception_node", lambda level, message, values: message == "active")
    assert whole[0] == 0
    assert whole[2]["engine"].startswith("onnxruntime-cpu") and whole[2]["parity"].startswith("passed")
    assert whole[2]["precision"] == "fp32" and whole[2]["device"] and whole[2]["model"]
    wait_for_status(peer, "robot/perception_node: camera left", lambda level, message, values: level == 1)
    wait_for_status(peer, "robot/perception_node: camera right", lambda level, message, values: level == 1)
    message = peer.received["/diagnostics"][-1]
    assert all(status.hardware_id for status in message.status)
    times = []
    seen = len(peer.received["/diagnostics"])
    peer.spin_until(lambda: len(peer.received["/diagnostics"]) >= seen + 4, "more")
    times = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in peer.received["/diagnostics"]]
    assert 0.9 < np.median(np.diff(times)) < 2.5, "about once a second"


def test_rates_losses_and_ages_are_counted(start, peer, bundle):
    start("examples/slow_engine", {"bundle": bundle, "max_age_secs": 0.05})
    peer.listen("/slow_engine/depth/image_rect", Image)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer)
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.1)
    # Stamped now, ten a second by their stamps with every third missing; the engine sleeps 200 ms a frame.
    begin = peer.node.get_clock().now().nanoseconds
    for number in range(60):
        if number % 3 != 2:
            stamp = begin + number * 100_000_000
            peer.publishers["/image"].publish(image(stamp // 10**9, pixels(), nanosec=stamp % 10**9))
        peer.spin(0.1)
    level, message, values = wait_for_status(
        peer, "slow_engine: camera", lambda level, message, values: "lost on the way" in message and "old (p99)" in message)
    assert level == 1
    assert float(values["inference_p50_ms"]) >= 200.0
    assert float(values["age_p50_ms"]) >= 200.0
    assert 25 <= int(values["images_received"]) <= 40
    assert int(values["images_lost_lately"]) >= 5
    assert int(values["results_published"]) >= 2
    assert 0 < float(values["output_rate_hz"]) < 5.1


def test_bad_frames_are_counted(start, peer, bundle):
    start("perception_node", {"bundle": bundle})
    peer.listen(DEPTH, Image)
    peer.listen("/diagnostics", DiagnosticArray)
    connect(peer)
    peer.publishers["/camera_info"].publish(camera_info())
    peer.spin(0.1)
    result_of(peer, 1.0)
    for second in (2, 3, 4):
        short = image(second, pixels())
        short.data = short.data[:50]
        peer.publishers["/image"].publish(short)
        peer.spin(0.3)
    level, message, values = wait_for_status(
        peer, "perception_node: camera", lambda level, message, values: values["bad_images"] == "3")
    assert level >= 1 and "could not be used: data: expected at least" in message
