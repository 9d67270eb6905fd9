"""A scene that needs no MuJoCo, with `scene.Cell`'s face: a hand over a table, a cube to be reached. For tests of robot.py."""

import numpy as np

TICK = 0.0125
HEIGHT = 1.0  # m of the camera over the table, looking straight down
FIELD_OF_VIEW = 60.0
REACH = np.array([[-0.3, -0.3, 0.02], [0.3, 0.3, 0.4]])


class StandIn:
    """Actions are x y z m/s of the hand and the gripper's opening; success is the hand at the cube."""

    task = "stand-in"

    def __init__(self, width=128, height=128):
        self.width, self.height = width, height
        self.reset(0)

    def close(self):
        pass

    def reset(self, seed):
        rng = np.random.default_rng(seed)
        self.hand, self.opening = np.array([0.0, 0.0, 0.3]), 1.0
        self.cube = np.array([*rng.uniform(-0.2, 0.2, 2), 0.03])
        self.success = False

    def tick(self, velocity, opening):
        self.hand = np.clip(self.hand + np.asarray(velocity) * TICK, *REACH)
        self.opening += np.clip(opening - self.opening, -0.05, 0.05)
        self.success = bool(np.linalg.norm(self.hand - self.cube) < 0.05)

    def proprioception(self):
        return np.append(self.hand, self.opening).astype(np.float32)

    def joints(self):
        return {"slide_x": self.hand[0], "slide_y": self.hand[1], "slide_z": self.hand[2], "finger": 0.05 * self.opening}

    def tool_pose(self):
        return self.hand, np.array([0.0, 0.0, 0.0, 1.0])

    def intrinsics(self):
        focal = 0.5 * self.height / np.tan(0.5 * np.radians(FIELD_OF_VIEW))
        return focal, focal, (self.width - 1) / 2, (self.height - 1) / 2

    def camera_pose(self):
        """Position and x y z w of the optical frame in the world: from above, looking down."""
        return np.array([0.0, 0.0, HEIGHT]), np.array([1.0, 0.0, 0.0, 0.0])

    def boxes(self):
        return [(self.cube, 0.03, (60, 180, 60)), (self.hand, 0.02, (220, 220, 220))]

    def layers(self):
        rgb = np.full((self.height, self.width, 3), (120, 90, 60), np.uint8)
        depth = np.full((self.height, self.width), HEIGHT, np.float32)
        focal, _, cx, cy = self.intrinsics()
        rows, columns = np.mgrid[: self.height, : self.width]
        for centre, half, colour in self.boxes():
            z = HEIGHT - centre[2] - half
            x, y = (columns - cx) / focal * z, -(rows - cy) / focal * z
            inside = (np.abs(x - centre[0]) <= half) & (np.abs(y - centre[1]) <= half) & (z < depth)
            rgb[inside], depth[inside] = colour, z
        return rgb, depth

    def picture(self):
        return self.layers()[0]

    def depth(self):
        return self.layers()[1]


class StandInExpert:
    def action(self, scene):
        velocity = (scene.cube - scene.hand) / 0.2
        velocity *= min(1.0, 0.3 / max(np.linalg.norm(velocity), 1e-9))
        return np.append(velocity, 0.0 if scene.success else 1.0).astype(np.float32)
