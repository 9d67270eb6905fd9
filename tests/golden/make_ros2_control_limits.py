"""Writes ros2_control_limits.json's results anew: what ros2_control's own C++ makes of the cases that stand there.

    git clone https://github.com/ros-controls/ros2_control; git -C ros2_control checkout 53b9999
    python make_ros2_control_limits.py ros2_control [--check]

Compiles joint_limits/src/joint_limits_helpers.cpp as it is, with g++; what it only logs with (rclcpp, fmt) are stand-ins that do nothing.
A robot measured so far outside that the C++ throws is no case.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

GOLDEN = Path(__file__).with_name("ros2_control_limits.json")
STAND_INS = {
    "rclcpp/logging.hpp": "#define RCLCPP_ERROR_ONCE(...)\n#define RCLCPP_WARN_EXPRESSION(...)\n",
    "fmt/compile.h": "#pragma once\n#include <string>\n#define FMT_COMPILE(text) text\n"
                     "namespace fmt { template <class... T> std::string format(const T &...) { return {}; } }\n",
}
MAIN = r"""
#include <cstdio>
#include <iostream>
#include <stdexcept>
#include "joint_limits/joint_limits_helpers.hpp"

std::optional<double> read()
{
  std::string word;
  std::cin >> word;
  return word == "-" ? std::nullopt : std::optional<double>(std::stod(word));
}

int main()
{
  while (auto first = read())
  {
    joint_limits::JointLimits limits;
    limits.has_position_limits = limits.has_velocity_limits = limits.has_acceleration_limits = true;
    limits.min_position = *first;
    limits.max_position = *read();
    limits.max_velocity = *read();
    limits.max_acceleration = *read();
    const double dt = *read();
    const auto measured_velocity = read(), measured = read(), before = read();
    const double desired = *read();
    const auto velocity_before = read();
    const auto p = joint_limits::compute_position_limits("a", limits, measured_velocity, measured, before, dt);
    const auto v = joint_limits::compute_velocity_limits("a", limits, desired, measured, velocity_before, dt);
    std::printf("%.17g %.17g %.17g %.17g\n", p.lower_limit, p.upper_limit, v.lower_limit, v.upper_limit);
  }
}
"""


def computed(checkout, cases):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name, text in {**STAND_INS, "main.cpp": MAIN}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        limits = checkout / "joint_limits"
        subprocess.run(["g++", "-std=c++17", "-I", folder, "-I", limits / "include", folder / "main.cpp",
                        limits / "src/joint_limits_helpers.cpp", "-o", folder / "limits"], check=True)
        words = [" ".join("-" if number is None else repr(number) for number in case[:10]) for case in cases]
        told = subprocess.run([folder / "limits"], input="\n".join([*words, "-"]), capture_output=True, text=True, check=True)
    return [[float(word) for word in line.split()] for line in told.stdout.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, tell whether the file's numbers are those")
    arguments = parser.parse_args()
    golden = json.loads(GOLDEN.read_text())
    results = computed(arguments.checkout, golden["cases"])
    if len(results) != len(golden["cases"]):
        raise SystemExit(f"expected {len(golden['cases'])} results, got {len(results)}")
    if arguments.check:
        off = max(abs(a - b) for case, result in zip(golden["cases"], results) for a, b in zip(case[10:], result))
        print(f"{len(results)} cases, largest difference {off}")
        raise SystemExit(off > 0)
    cases = [case[:10] + result for case, result in zip(golden["cases"], results)]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    head = f'{{\n"origin": {json.dumps(golden["origin"])},\n"columns": {json.dumps(golden["columns"], separators=(",", ":"))},\n'
    GOLDEN.write_text(f'{head}"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
