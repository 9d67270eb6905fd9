"""Makes hand.stl, millimetres: the hand's body, an octagonal prism that widens towards the fingers.

    python urdf/robots/meshes/make_hand.py
"""

import math
import struct
from pathlib import Path


def ring(z, across, along):
    turns = [math.pi / 8 + math.pi / 4 * step for step in range(8)]
    return [(across * math.cos(turn), along * math.sin(turn), z) for turn in turns]


def triangles():
    rings = [ring(0, 36, 36), ring(40, 36, 42), ring(90, 24, 58)]
    for lower, upper in zip(rings, rings[1:]):
        for one in range(8):
            other = (one + 1) % 8
            yield lower[one], lower[other], upper[other]
            yield lower[one], upper[other], upper[one]
    for step in range(1, 7):
        yield rings[0][0], rings[0][step + 1], rings[0][step]
        yield rings[-1][0], rings[-1][step], rings[-1][step + 1]


def main():
    faces = list(triangles())
    body = b"hand of the example arm, millimetres".ljust(80) + struct.pack("<I", len(faces))
    for face in faces:
        body += struct.pack("<12fH", 0, 0, 0, *[value for corner in face for value in corner], 0)
    Path(__file__).with_name("hand.stl").write_bytes(body)


if __name__ == "__main__":
    main()
