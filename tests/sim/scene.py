"""MetaWorld's scenes as a robot cell: physics at 80 Hz, commands in metres per second, a camera of known intrinsics, true depth.

Runs in its own virtual environment (tests/sim/setup.sh); no ROS in it.
"""

import atexit
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa draws in this thread: its own two only wait for each other on a busy machine
warnings.filterwarnings("ignore", module="gymnasium")

import metaworld.env_dict
import metaworld.policies
import mujoco
import numpy as np

TASKS = ["assembly-v3", "bin-picking-v3", "button-press-topdown-v3", "drawer-open-v3", "hammer-v3"]
SENTENCES = {
    "assembly-v3": "put the ring over the peg",
    "bin-picking-v3": "move the cube from the red bin into the blue bin",
    "button-press-topdown-v3": "press the button from above",
    "drawer-open-v3": "open the drawer",
    "hammer-v3": "drive the nail in with the hammer",
}

TICK = 0.0125  # seconds of one physics command: MetaWorld's 5 steps of 2.5 ms
TICKS = 4  # of one action
PERIOD = TICK * TICKS  # seconds of one action: 50 ms
HORIZON = 100  # actions of an episode: 5 s; the expert needs at most 3.5
METERS_PER_UNIT = 0.01  # MetaWorld's action of 1 moves the hand's target by so much in a tick
MAX_SPEED = 0.4  # m/s, of the expert; the simulation takes 0.8 along each axis
TIME_CONSTANT = 0.1  # s in which the expert would cover its way

LABELS = ["background", "floor", "table", "wall", "robot", "gripper", "ring", "peg", "cube", "bin", "button", "drawer",
          "hammer", "block", "clutter"]
OF_BODY = {"tablelink": "table", "RetainingWall": "wall", "asmbly_peg": "ring", "peg": "peg", "objA": "cube", "binA": "bin",
           "binB": "bin", "buttonbox": "button", "button": "button", "drawercase_link": "drawer", "drawer_link": "drawer",
           "hammer": "hammer", "hammerblock": "block", "nail_link": "block"}
GRIPPER = {"right_hand", "hand", "rightclaw", "rightpad", "leftclaw", "leftpad"}

CLUTTER = 6  # geoms that render.py may put on the table; elsewhere they lie below the floor
HIDDEN = (0.0, 0.0, -20.0)
TEXTURES = Path(metaworld.env_dict.__file__).parent / "assets" / "textures"


class View:
    """A pinhole camera in the world: pixel centres at integers, looking along +z, y down (the optical frame)."""

    def __init__(self, position, target, roll=0.0, field_of_view=50.0):
        self.position = np.asarray(position, float)
        self.field_of_view = field_of_view  # degrees, vertical
        back = self.position - np.asarray(target, float)
        back /= np.linalg.norm(back)
        right = np.cross((0.0, 0.0, 1.0), back)
        right /= np.linalg.norm(right)
        up = np.cross(back, right)
        right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
        self.world_from_optical = np.stack([right, -up, -back], axis=1)

    def intrinsics(self, width, height):
        """fx, fy, cx, cy in pixels."""
        focal = 0.5 * height / np.tan(0.5 * np.radians(self.field_of_view))
        return focal, focal, (width - 1) / 2, (height - 1) / 2

    def quaternion(self):
        """w x y z of the camera as MuJoCo has it, looking along -z with y up."""
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, (self.world_from_optical * [1, -1, -1]).ravel())
        return quaternion


POLICY_VIEW = View((0.75, 0.075, 0.70), (0.02, 0.66, 0.08))


def environment(task):
    """MetaWorld's environment with goals drawn at each reset and the whole state observed."""
    env = metaworld.env_dict.ALL_V3_ENVIRONMENTS[task]()
    env._partially_observable = False
    del env.sawyer_observation_space  # kept from when the goal was hidden; it would clip the goal to zero
    env._freeze_rand_vec = False
    env.seeded_rand_vec = True
    env._set_task_called = True
    env.max_path_length = 10**9
    return env


def picture_model(env, width, height):
    """The same scene for drawing: with a free camera and clutter, without markers. Bodies of `env` keep their numbers."""
    spec = mujoco.MjSpec.from_file(env.model_name)
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = max(width, 640), max(height, 480)
    spec.worldbody.add_camera(name="view")
    for index in range(CLUTTER):
        body = spec.worldbody.add_body(name=f"clutter{index}", pos=HIDDEN)
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.02, 0.02, 0.02), contype=0, conaffinity=0, group=1)
    return spec.compile()


def label_of(model, geom):
    if geom < 0:
        return 0
    if model.geom(geom).name == "floor":
        return LABELS.index("floor")
    body = model.body(model.geom_bodyid[geom]).name
    root = model.body(model.body_rootid[model.geom_bodyid[geom]]).name
    if body.startswith("clutter"):
        return LABELS.index("clutter")
    if body in GRIPPER:
        return LABELS.index("gripper")
    return LABELS.index(OF_BODY.get(body, "robot" if root == "base" else "background"))


class Cell:
    """One task's scene. Actions are x y z m/s of the hand in the world and the gripper's opening (0 closed, 1 open)."""

    def __init__(self, task, width=128, height=128):
        self.task = task
        self.env = environment(task)
        self.width, self.height = width, height
        self.model = picture_model(self.env, width, height)
        self.data = mujoco.MjData(self.model)
        self.view = self.model.camera("view").id
        self.labels = np.array([label_of(self.model, geom) for geom in range(-1, self.model.ngeom)], np.uint8)
        self.renderer = mujoco.Renderer(self.model, height, width)
        self.options = mujoco.MjvOption()
        self.options.sitegroup[:] = 0
        self.observation, self.success = None, False
        atexit.register(self.close)  # or OpenGL's library ends before its contexts and says so

    def close(self):
        self.renderer.close()

    def reset(self, seed):
        """Objects and goal as `seed` draws them; returns the whole state (39)."""
        self.env.seed(int(seed))
        self.observation, _ = self.env.reset()
        self.success = False
        return self.observation

    def tick(self, velocity, opening):
        """12.5 ms of physics."""
        action = np.append(np.asarray(velocity, float) * TICK / METERS_PER_UNIT, 1.0 - 2.0 * opening)
        self.observation, _, _, _, info = self.env.step(np.clip(action, -1, 1).astype(np.float32))
        self.success = bool(info["success"])

    def act(self, action):
        """One action, held for its period."""
        for _ in range(TICKS):
            self.tick(action[:3], action[3])
        return self.observation

    def proprioception(self):
        """The hand's x y z (m, world) and the opening of its fingers (of 0.1 m)."""
        return self.observation[:4].astype(np.float32)

    def joints(self):
        """Names and positions (rad, m) of the arm's and fingers' joints."""
        model, names = self.env.model, {}
        for joint in range(model.njnt):
            root = model.body(model.body_rootid[model.jnt_bodyid[joint]]).name
            if root == "base" and model.jnt_type[joint] in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
                names[model.joint(joint).name] = float(self.env.data.qpos[model.jnt_qposadr[joint]])
        return names

    def tool_pose(self):
        """Position (m) and x y z w of the hand in the world."""
        hand = self.env.data.body("hand")
        return hand.xpos.copy(), np.roll(hand.xquat, -1)

    def intrinsics(self):
        return POLICY_VIEW.intrinsics(self.width, self.height)

    def camera_pose(self):
        """Position (m) and x y z w of the optical frame in the world."""
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, POLICY_VIEW.world_from_optical.ravel())
        return POLICY_VIEW.position, np.roll(quaternion, -1)

    def pose(self, view):
        """Puts the drawn scene where the physics is and the camera where `view` is."""
        bodies = self.env.model.nbody
        self.model.body_pos[:bodies] = self.env.model.body_pos
        self.model.body_quat[:bodies] = self.env.model.body_quat
        self.data.qpos[:] = self.env.data.qpos
        self.data.mocap_pos[:] = self.env.data.mocap_pos
        self.data.mocap_quat[:] = self.env.data.mocap_quat
        self.model.cam_pos[self.view] = view.position
        self.model.cam_quat[self.view] = view.quaternion()
        self.model.cam_fovy[self.view] = view.field_of_view
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        self.renderer.update_scene(self.data, self.view, self.options)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self.renderer.scene.flags[flag] = False

    def picture(self, view=POLICY_VIEW):
        """RGB (height, width, 3)."""
        self.pose(view)
        return self.renderer.render().copy()

    def depth(self, view=POLICY_VIEW):
        """Metres along the optical axis; 0 where nothing is."""
        self.pose(view)
        self.renderer.enable_depth_rendering()
        depth = self.renderer.render().copy()
        self.renderer.disable_depth_rendering()
        far = self.model.vis.map.zfar * self.model.stat.extent
        return np.where(depth < 0.99 * far, depth, 0.0).astype(np.float32)

    def truth(self, view=POLICY_VIEW):
        """Depth in metres along the optical axis, 0 where nothing is, and labels (both height, width)."""
        self.pose(view)
        self.renderer.enable_depth_rendering()
        depth = self.renderer.render().copy()
        self.renderer.disable_depth_rendering()
        self.renderer.enable_segmentation_rendering()
        ids = self.renderer.render()
        self.renderer.disable_segmentation_rendering()
        is_geom = ids[..., 1] == mujoco.mjtObj.mjOBJ_GEOM
        geoms = np.where(is_geom, ids[..., 0], -1)
        return np.where(is_geom, depth, 0.0).astype(np.float32), self.labels[geoms + 1]


class Expert:
    """MetaWorld's scripted expert as a teleoperator would act: once per period, no faster than MAX_SPEED."""

    def __init__(self, task):
        self.policy = metaworld.policies.ENV_POLICY_MAP[task]()
        # The way to where it wants to be, in metres, in place of its answer for steps of 12.5 ms.
        sys.modules[type(self.policy).__module__].move = lambda from_xyz, to_xyz, p: to_xyz - from_xyz

    def action(self, observation):
        wanted = self.policy.get_action(observation).astype(float)
        velocity = wanted[:3] / TIME_CONSTANT
        velocity *= min(1.0, MAX_SPEED / max(np.linalg.norm(velocity), 1e-9))
        return np.append(velocity, (1.0 - wanted[3]) / 2).astype(np.float32)
