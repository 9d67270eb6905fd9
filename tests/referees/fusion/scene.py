"""A room with things on a table, whose depth and distances are known exactly, and a camera that moves through it."""

import numpy as np

# Axis-aligned boxes as (low, high) corners, metres, z up. The room is seen from inside.
ROOM = (np.array([-2.0, -1.6, 0.0]), np.array([2.0, 1.6, 2.4]))
BOXES = [
    ([-0.6, -0.5, 0.68], [0.6, 0.5, 0.72]),
    ([-0.55, -0.45, 0.0], [-0.45, -0.35, 0.68]),
    ([0.45, 0.35, 0.0], [0.55, 0.45, 0.68]),
    ([-0.35, -0.2, 0.72], [-0.15, 0.05, 0.97]),
    ([0.2, -0.3, 0.72], [0.45, -0.1, 0.82]),
    ([-2.0, 0.9, 0.0], [-1.3, 1.6, 1.4]),
]
BALLS = [([0.1, 0.2, 0.87], 0.15), ([1.2, -1.0, 0.35], 0.35)]
BOXES = [tuple(np.array(corner) for corner in box) for box in BOXES]
BALLS = [(np.array(centre), radius) for centre, radius in BALLS]

SIZE = (320, 240)
FOCAL, CENTRE = 260.0, (158.3, 121.2)
FRAMES = 24
CAMERA = np.array([[FOCAL, 0.0, CENTRE[0]], [0.0, FOCAL, CENTRE[1]], [0.0, 0.0, 1.0]])


def world_from_camera(frame):
    """The camera's optical frame (x right, y down, z forward) on its way once round the table, up and down."""
    angle = 2.0 * np.pi * frame / FRAMES
    at = np.array([1.35 * np.cos(angle), 1.1 * np.sin(angle), 1.35 + 0.3 * np.sin(3.0 * angle)])
    forward = np.array([0.15 * np.sin(5.0 * angle), 0.0, 0.7]) - at
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = at
    return pose


def rays():
    """Directions of all pixel centres in the optical frame, 1 along z."""
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]].astype(float)
    return np.stack([(columns - CENTRE[0]) / FOCAL, (rows - CENTRE[1]) / FOCAL, np.ones_like(rows)], axis=-1)


def depth(pose):
    """Metres along z of every pixel."""
    directions, eye = rays() @ pose[:3, :3].T, pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        nearest = spans(eye, directions, *ROOM)[1]
        for low, high in BOXES:
            first, last = spans(eye, directions, low, high)
            nearest = np.where((first <= last) & (first > 0.0), np.minimum(nearest, first), nearest)
        for centre, radius in BALLS:
            away = eye - centre
            a, b = (directions**2).sum(-1), directions @ away
            first = (-b - np.sqrt(b * b - a * (away @ away - radius**2))) / a
            nearest = np.where(first > 0.0, np.minimum(nearest, first), nearest)
    return nearest


def spans(eye, directions, low, high):
    """Where rays enter and leave a box."""
    one, other = (low - eye) / directions, (high - eye) / directions
    return np.minimum(one, other).max(-1), np.maximum(one, other).min(-1)


def distance(points):
    """Metres from points to the nearest surface."""
    def box(low, high):
        excess = np.abs(points - (low + high) / 2.0) - (high - low) / 2.0
        return np.linalg.norm(np.maximum(excess, 0.0), axis=-1) + np.minimum(excess.max(-1), 0.0)

    solids = [-box(*ROOM)] + [box(*corners) for corners in BOXES]
    solids += [np.linalg.norm(points - centre, axis=-1) - radius for centre, radius in BALLS]
    return np.abs(np.min(solids, axis=0))
